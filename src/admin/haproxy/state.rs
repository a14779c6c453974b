//! `show servers state`, `show info` and `show backend`.

use std::fmt::Write as _;

use super::checks;
use super::figures::{Standing, all_begun, throttle};
use super::proxies::{Proxy, Server, proxies};
use crate::admin::Views;
use crate::admin::metrics::process::usage;
use crate::balance::Health;
use crate::config::CheckKind;
use crate::plan::Plan;
use crate::proxy::now_ms;
use crate::status::Phase;

/// Of HAProxy 2.6, in format 1.
const COLUMNS: &str = "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight \
    srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state \
    bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr \
    srv_agent_addr srv_agent_port";

/// HAProxy's bits and numbers.
const FORCED_MAINT: u8 = 0x01;
const FORCED_DRAIN: u8 = 0x08;
const STOPPED: u8 = 0;
const STARTING: u8 = 1;
const RUNNING: u8 = 2;
const CONFIGURED_AND_ENABLED: u8 = 6;

/// `None`: there is no such backend.
pub(super) fn servers(plan: &Plan, backend: Option<&str>) -> Option<String> {
    let mut text = format!("1\n{COLUMNS}\n");
    let mut is_there = backend.is_none();
    for proxy in proxies(plan) {
        if backend.is_some_and(|name| name != proxy.name) {
            continue;
        }
        is_there = true;
        for server in proxy.servers() {
            line(&proxy, &server, &mut text);
        }
    }
    is_there.then_some(text)
}

fn line(proxy: &Proxy<'_>, server: &Server<'_>, text: &mut String) {
    let (service, member) = (proxy.service, server.member);
    let (state, check) = (&member.state, &service.config.health_check);
    let standing = Standing::of(service, server);
    let operation = match state.health() {
        Health::Up if throttle(service, member).is_some() => STARTING,
        Health::Up => RUNNING,
        Health::Starting | Health::Down => STOPPED,
    };
    let admin = match standing {
        Standing::Maint => FORCED_MAINT,
        _ if member.weight == 0 => FORCED_DRAIN,
        _ => 0,
    };
    let is_checked = check.kind != CheckKind::Off && server.index.is_some();
    let found = checks::read(check, &state.last_check()).filter(|_| is_checked);
    let (status, result, health) = match &found {
        None => (1, 0, 0),
        Some(found) => {
            let result = match (found.status, found.status.ends_with("OK")) {
                ("INI", _) => 0,
                (_, true) => 3,
                (_, false) => 2,
            };
            let health = checks::health(check, state.health(), state.streak());
            (found.number, result, health)
        }
    };
    let check_state = match is_checked {
        true => CONFIGURED_AND_ENABLED,
        false => 0,
    };
    let host = member
        .host
        .as_deref()
        .and_then(|host| host.rsplit_once(':'));
    let host = host.map_or("-", |(host, _)| host);
    let secured = server.index.and_then(|index| service.secured(index));
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{iid} {proxy} {sid} {name} {ip} {operation} {admin} {weight} {weight} {since} {status} {result} {health} \
         {check_state} 0 0 0 {host} {port} - {ssl} {check_port} - - 0",
        iid = proxy.iid,
        proxy = proxy.name,
        sid = server.sid,
        name = member.name,
        ip = member.address.ip(),
        weight = member.weight,
        since = state
            .since_ms()
            .map_or(0, |at| now_ms().saturating_sub(at) / 1000),
        port = member.address.port(),
        ssl = u8::from(secured.is_some()),
        check_port = check.port.unwrap_or(0),
    );
}

pub(super) fn backends(plan: &Plan) -> String {
    let mut text = "# name\n".to_owned();
    for proxy in proxies(plan) {
        text.push_str(&proxy.name);
        text.push('\n');
    }
    text
}

/// The lines of HAProxy's that have a figure here, and those without which `hatop` does not begin.
pub(super) fn info(views: &Views) -> String {
    let (shared, node) = (&views.shared, views.status.borrow().brief());
    let generation = shared.published.current();
    let usage = usage();
    let started = usage.as_ref().map_or(0, |usage| usage.started as u64);
    let resident = usage.as_ref().map_or(0, |usage| usage.resident as u64);
    let now = now_ms() / 1000;
    let uptime = now.saturating_sub(started);
    let (days, hours, minutes) = (uptime / 86_400, uptime / 3600 % 24, uptime / 60 % 60);
    let seconds = uptime % 60;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let requests = all_begun(shared, &generation.plan);
    let lines = [
        ("Name", "pointsman".to_owned()),
        ("Version", node.version.clone()),
        ("Release_date", "-".to_owned()),
        ("Nbthread", shared.workers().to_string()),
        ("Nbproc", "1".to_owned()),
        ("Process_num", "1".to_owned()),
        ("Pid", std::process::id().to_string()),
        (
            "Uptime",
            format!("{days}d {hours}h{minutes:02}m{seconds:02}s"),
        ),
        ("Uptime_sec", uptime.to_string()),
        ("Memmax_MB", "0".to_owned()),
        ("PoolUsed_MB", (resident / (1 << 20)).to_string()),
        ("Ulimit-n", limit.current.unwrap_or(0).to_string()),
        (
            "Maxconn",
            generation.plan.balancer().max_connections.to_string(),
        ),
        ("CurrConns", shared.connections().to_string()),
        ("CumReq", (requests + shared.rejected()).to_string()),
        ("Maxpipes", "0".to_owned()),
        ("PipesUsed", "0".to_owned()),
        ("Tasks", "0".to_owned()),
        ("Run_queue", "0".to_owned()),
        ("node", node.node.clone()),
        (
            "Stopping",
            u8::from(node.phase == Phase::Draining).to_string(),
        ),
        ("DroppedLogs", shared.access_log_dropped().to_string()),
        ("Start_time_sec", started.to_string()),
    ];
    let mut text = String::new();
    for (name, value) in lines {
        let _ = writeln!(text, "{name}: {value}");
    }
    text
}
