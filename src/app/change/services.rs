//! `pointsman services`: what services there are, who takes nothing new, and who refused what.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use serde::Serialize;
use tokio::time::timeout;

use crate::app::ask::{At, NodeArgs};
use crate::app::cli::{StoreArgs, duration};
use crate::app::{look, settings};
use crate::change::{ServiceView, services as list};
use crate::diag::quoted;
use crate::status::NodeStatus;
use crate::store::{self, StatusBoard};

/// A node with ten thousand services tells some megabytes.
const MAX_STATUS: u64 = 64 * 1024 * 1024;

#[derive(Debug, Args)]
pub struct ServicesArgs {
    /// As JSON
    #[arg(long, env = "LB_JSON")]
    pub json: bool,
    /// How long to wait for stores and node
    #[arg(long, env = "LB_TIMEOUT", value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub timeout: Duration,
    /// How its upstreams are is told by the node.
    #[command(flatten)]
    pub node: NodeArgs,
    #[command(flatten)]
    pub store: StoreArgs,
}

#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    service: ServiceView,
    /// Why, by node.
    refused_by: BTreeMap<String, String>,
    /// By upstream, or by address of its name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    health: BTreeMap<String, String>,
}

pub(in crate::app) fn services(args: &ServicesArgs) -> anyhow::Result<ExitCode> {
    let (specs, options) = settings::stores(&args.store)?;
    let (tree, nodes, mut health) = look::runtime()?.block_on(async {
        let tree = store::read_tree(&specs, &options, args.timeout).await?;
        let listed = match StatusBoard::open(&specs, &options) {
            Ok(board) => board.list().await,
            Err(error) => Err(error),
        };
        let nodes = listed.unwrap_or_else(|error| {
            eprintln!("warning: what nodes say of themselves cannot be read: {error}");
            Vec::new()
        });
        let health = match &args.node.stats {
            Some(stats) => {
                let asked = timeout(args.timeout, ask(&args.node, stats)).await;
                let asked = asked.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer in time")));
                asked.with_context(|| format!("--stats {stats}"))?
            }
            None => BTreeMap::new(),
        };
        anyhow::Ok((tree, nodes, health))
    })?;
    let rows: Vec<_> = list(&tree.snapshot)
        .into_iter()
        .map(|service| Row {
            refused_by: refused_by(&nodes, &service.unit),
            health: health.remove(&service.unit).unwrap_or_default(),
            service: service.veiled(),
        })
        .collect();
    let text = match (args.json, rows.is_empty()) {
        (true, _) => serde_json::to_string_pretty(&rows)? + "\n",
        (false, true) => "no services\n".to_owned(),
        (false, false) => rows.iter().map(Row::text).collect(),
    };
    look::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn refused_by(nodes: &[NodeStatus], unit: &str) -> BTreeMap<String, String> {
    let refusals = nodes.iter().flat_map(|node| {
        let own = node.refused.iter().filter(|refusal| refusal.unit == unit);
        own.map(|refusal| (node.node.clone(), refusal.reason()))
    });
    refusals.collect()
}

impl Row {
    fn text(&self) -> String {
        let Self {
            service,
            refused_by,
            health,
        } = self;
        let key = |name: &str| service.keys.get(name).map(String::as_str);
        let mut routes: Vec<String> = Vec::new();
        match key("external_port") {
            Some(port) if service.mode == "tcp" => routes.push(format!("port {port}")),
            _ => {
                let words = [
                    "virtual_hosts",
                    "virtual_host_regex",
                    "virtual_path",
                    "priority",
                ];
                routes.extend(words.into_iter().filter_map(key).map(one_line));
            }
        }
        if service.hidden.iter().any(|key| key == "match") {
            routes.push("match".to_owned());
        }
        let routes = match routes.is_empty() {
            true => "-".to_owned(),
            false => routes.join("  "),
        };
        let mut text = String::new();
        let name = one_line(&service.name);
        let _ = writeln!(text, "{name}  {}  {routes}", service.mode);
        for (name, value) in &service.upstreams {
            let drained = match service.drained.contains(name) {
                true => "  drained",
                false => "",
            };
            let own = format!("{name}/");
            let states = health
                .iter()
                .filter(|(member, _)| *member == name || member.starts_with(&own));
            let states: Vec<_> = states.map(|(_, state)| state.as_str()).collect();
            let states = match states.is_empty() {
                true => String::new(),
                false => format!("  {}", states.join(", ")),
            };
            let (name, value) = (one_line(name), one_line(value));
            let _ = writeln!(text, "    {name}  {value}{drained}{states}");
        }
        if service.upstreams.is_empty() {
            text += "    no upstreams\n";
        }
        for (node, reason) in refused_by {
            let _ = writeln!(
                text,
                "    refused by {}: {}",
                one_line(node),
                one_line(reason)
            );
        }
        text
    }
}

/// Values are written by anybody.
fn one_line(text: &str) -> String {
    let plain = |c: char| !c.is_control();
    match text.len() <= 200 && text.chars().all(plain) {
        true => text.to_owned(),
        false => quoted(text),
    }
}

/// The health of upstreams by unit, as a node's `/v1/status` says.
async fn ask(
    node: &NodeArgs,
    at: &At,
) -> anyhow::Result<BTreeMap<String, BTreeMap<String, String>>> {
    let answer = node.get(at, "/v1/status", MAX_STATUS).await?;
    if answer.status != 200 {
        bail!("this is no node's --stats: it does not answer GET /v1/status with 200");
    }
    let status: serde_json::Value = serde_json::from_slice(&answer.body)?;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let mut all = BTreeMap::new();
    for service in status["services"].as_array().into_iter().flatten() {
        let upstreams = service["upstreams"].as_array().into_iter().flatten();
        let states = upstreams.map(|u| (text(&u["name"]), text(&u["health"])));
        all.insert(text(&service["unit"]), states.collect());
    }
    Ok(all)
}
