//! The balancer's figures as a page and as HAProxy's CSV.
//!
//! Written by the worker that was asked, so it is bounded: what goes beyond is counted and left to the
//! admin listener, which has all of it.

use std::fmt::Write;

use crate::balance::{Health, Member};
use crate::config::{CheckKind, Maintenance};
use crate::plan::Service;
use crate::proxy::generation::Generation;
use crate::proxy::worker::Shared;

/// Services and upstreams shown, each a line.
const LINES: usize = 2_000;

/// HAProxy's columns up to the last that has a figure here. Who reads by number finds them in their
/// places, and those we have no figure for empty.
const COLUMNS: &str = "# pxname,svname,qcur,qmax,scur,smax,slim,stot,bin,bout,dreq,dresp,ereq,econ,\
    eresp,wretr,wredis,status,weight,act,bck,chkfail,chkdown,lastchg,downtime,qlimit,pid,iid,sid,\
    throttle,lbtot,tracked,type,rate,rate_lim,rate_max,check_status,check_code,check_duration,\
    hrsp_1xx,hrsp_2xx,hrsp_3xx,hrsp_4xx,hrsp_5xx,hrsp_other,\n";

const STYLE: &str = "body{font:14px sans-serif;margin:1.5em}table{border-collapse:collapse}\
    td,th{padding:.2em .7em;text-align:right;border-bottom:1px solid #ddd}\
    td:first-child,th:first-child,td:nth-child(2),th:nth-child(2),td:nth-child(3),th:nth-child(3),\
    td:nth-child(4),th:nth-child(4){text-align:left}.service{background:#eee;font-weight:bold}.DOWN{color:#b00}.UP{color:#070}";

/// The figures of one line, whichever form it takes.
struct Line<'a> {
    service: &'a str,
    /// `None`: the service as a whole.
    upstream: Option<&'a Member>,
    status: &'static str,
    weight: u64,
    in_flight: u64,
    queued: usize,
    /// All that ended or is under way.
    total: u64,
    connect_failures: u64,
    /// Requests that got no answer from any upstream.
    failures: u64,
    turned_away: u64,
    answers: Option<[u64; 5]>,
    /// Upstreams that are up.
    active: usize,
    /// What the last health check found.
    last_check: Box<str>,
    limit: Option<u32>,
}

pub(super) fn html(generation: &Generation, shared: &Shared) -> String {
    let mut page = String::with_capacity(16 * 1024);
    page += "<!DOCTYPE html><html><head><title>pointsman</title>\
        <meta charset=\"utf-8\"><meta http-equiv=\"refresh\" content=\"10\"><style>";
    page += STYLE;
    page += "</style></head><body><h1>pointsman</h1>";
    // Writing to a String cannot fail.
    let _ = write!(
        page,
        "<p>generation {}, revision {}, services {}, connections {}, requests refused {}</p>\
         <table><tr><th>service</th><th>upstream</th><th>status</th><th>last check</th><th>weight</th><th>in flight</th>\
         <th>queued</th><th>served</th><th>connect failures</th><th>failures</th>\
         <th>turned away</th><th>2xx</th><th>3xx</th><th>4xx</th><th>5xx</th></tr>",
        generation.id,
        generation.revision,
        generation.plan.len(),
        shared.connections(),
        shared.rejected(),
    );
    let left_out = each_line(generation, |line| html_line(line, &mut page));
    page += "</table>";
    if left_out > 0 {
        let _ = write!(page, "<p>and {left_out} more services</p>");
    }
    page += "</body></html>\n";
    page
}

fn html_line(line: &Line<'_>, page: &mut String) {
    page.push_str(match line.upstream {
        None => "<tr class=\"service\"><td>",
        Some(_) => "<tr><td>",
    });
    escape(line.service, page);
    page.push_str("</td><td>");
    if let Some(member) = line.upstream {
        escape(member.name.as_str(), page);
        let _ = write!(page, " {}", member.address);
    }
    let class = if line.status == "UP" { "UP" } else { "DOWN" };
    let _ = write!(page, "</td><td class=\"{class}\">{}</td><td>", line.status);
    escape(&line.last_check, page);
    let _ = write!(
        page,
        "</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>",
        line.weight, line.in_flight, line.queued, line.total, line.connect_failures,
    );
    match line.answers {
        Some([_, ok, moved, client, server]) => {
            let _ = write!(
                page,
                "<td>{}</td><td>{}</td><td>{ok}</td><td>{moved}</td><td>{client}</td><td>{server}</td>",
                line.failures, line.turned_away,
            );
        }
        None => page.push_str("<td></td><td></td><td></td><td></td><td></td><td></td>"),
    }
    page.push_str("</tr>\n");
}

pub(super) fn csv(generation: &Generation, shared: &Shared) -> String {
    let mut text = String::with_capacity(16 * 1024);
    text += COLUMNS;
    let connections = shared.connections();
    let mut front = [""; 45].map(str::to_owned);
    front[0] = "http-in".to_owned();
    front[1] = "FRONTEND".to_owned();
    front[4] = connections.to_string();
    front[6] = generation.plan.balancer().max_connections.to_string();
    front[12] = shared.rejected().to_string();
    front[17] = "OPEN".to_owned();
    front[32] = "0".to_owned();
    csv_line(&front, &mut text);
    let left_out = each_line(generation, |line| {
        let mut columns = [""; 45].map(str::to_owned);
        columns[0] = line.service.to_owned();
        columns[1] = match line.upstream {
            Some(member) => member.name.to_string(),
            None => "BACKEND".to_owned(),
        };
        columns[2] = line.queued.to_string();
        columns[4] = line.in_flight.to_string();
        columns[6] = line.limit.map(|n| n.to_string()).unwrap_or_default();
        columns[7] = line.total.to_string();
        columns[13] = line.connect_failures.to_string();
        columns[17] = line.status.to_owned();
        columns[18] = line.weight.to_string();
        columns[19] = line.active.to_string();
        columns[20] = "0".to_owned();
        columns[30] = line.total.to_string();
        columns[32] = if line.upstream.is_some() { "2" } else { "1" }.to_owned();
        if let Some(answers) = line.answers {
            columns[14] = line.failures.to_string();
            for (column, answers) in columns[39..44].iter_mut().zip(answers) {
                *column = answers.to_string();
            }
        }
        csv_line(&columns, &mut text);
    });
    if left_out > 0 {
        let _ = writeln!(text, "# and {left_out} more services");
    }
    text
}

fn csv_line(columns: &[String], text: &mut String) {
    for column in columns {
        // Names hold no quotes.
        let needs_quotes = column.contains(',');
        text.push_str(if needs_quotes { "\"" } else { "" });
        text.push_str(column);
        text.push_str(if needs_quotes { "\"," } else { "," });
    }
    text.push('\n');
}

/// Shows the lines of as many services as there is room for; answers how many were left out.
fn each_line(generation: &Generation, mut show: impl FnMut(&Line<'_>)) -> usize {
    let mut room = LINES;
    let mut shown = 0;
    for service in generation.plan.services() {
        let lines = service.members.len() + 1;
        // A service is shown whole, except for one that would not fit anywhere.
        if lines > room && shown > 0 {
            break;
        }
        for member in service.members.iter().take(room) {
            show(&Line::of_upstream(service, member));
        }
        show(&Line::of_service(service));
        room = room.saturating_sub(lines);
        shown += 1;
    }
    generation.plan.len() - shown
}

impl<'a> Line<'a> {
    fn of_upstream(service: &'a Service, member: &'a Member) -> Self {
        let state = &member.state;
        let status = match state.health() {
            _ if is_closed(service) => "MAINT",
            _ if service.config.health_check.kind == CheckKind::Off => "no check",
            Health::Up if member.weight == 0 => "DRAIN",
            Health::Up => "UP",
            Health::Starting => "STARTING",
            Health::Down => "DOWN",
        };
        Self {
            service: service.config.name.as_str(),
            upstream: Some(member),
            status,
            weight: u64::from(member.weight),
            in_flight: u64::from(state.in_flight()),
            queued: 0,
            total: state.served(),
            connect_failures: state.connect_failures(),
            failures: 0,
            turned_away: 0,
            answers: None,
            active: usize::from(state.health() == Health::Up),
            last_check: state.last_check(),
            limit: None,
        }
    }

    fn of_service(service: &'a Service) -> Self {
        let state = &service.state;
        let members = || service.all_members();
        let is_up = |member: &&Member| member.state.health() == Health::Up;
        let active = members().filter(is_up).count();
        let answers = state.answers();
        Self {
            service: service.config.name.as_str(),
            upstream: None,
            status: match active {
                _ if is_closed(service) => "MAINT",
                0 => "DOWN",
                _ => "UP",
            },
            weight: members().map(|m| u64::from(m.weight)).sum(),
            in_flight: members().map(|m| u64::from(m.state.in_flight())).sum(),
            queued: state.gate.queued(),
            total: answers.iter().sum::<u64>()
                + state.flows()
                + state.failures()
                + state.turned_away(),
            connect_failures: members().map(|m| m.state.connect_failures()).sum(),
            failures: state.failures(),
            turned_away: state.turned_away(),
            answers: Some(answers),
            active,
            last_check: Box::default(),
            limit: service.config.max_connections,
        }
    }
}

fn is_closed(service: &Service) -> bool {
    let policy = service.config.policy.as_deref();
    policy.is_some_and(|policy| matches!(policy.maintenance, Some(Maintenance::Closed)))
}

fn escape(text: &str, page: &mut String) {
    for c in text.chars() {
        match c {
            '<' => page.push_str("&lt;"),
            '>' => page.push_str("&gt;"),
            '&' => page.push_str("&amp;"),
            '"' => page.push_str("&quot;"),
            '\'' => page.push_str("&#39;"),
            c => page.push(c),
        }
    }
}
