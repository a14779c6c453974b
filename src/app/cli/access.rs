//! Flags that say who may come to the listener of `--stats`.

use std::path::PathBuf;

use clap::Args;

/// Who may see and change what at the listener of `--stats`. The password of user `stats` is in the environment too,
/// which has no flag: other users see command lines.
#[derive(Debug, Args)]
#[command(next_help_heading = "Access")]
pub struct AccessArgs {
    /// A file with the password of user stats, who may read; a key settings/stats_password goes over it [default:
    /// what LB_STATS_PASSWORD or STATS_PASSWORD says]
    #[arg(long, env = "LB_STATS_PASSWORD_FILE", value_name = "FILE")]
    pub stats_password_file: Option<PathBuf>,
    /// A file with more users, NAME:HASH on each line as htpasswd -nB prints it; they may read
    #[arg(long, env = "LB_STATS_USERS", value_name = "FILE")]
    pub stats_users: Option<PathBuf>,
    /// Those of them who may change keys too, and of those whom certificates name; with commas between them
    #[arg(
        long,
        env = "LB_STATS_ADMINS",
        value_name = "NAMES",
        value_delimiter = ','
    )]
    pub stats_admins: Vec<String>,
    /// A file with a token, of at least 16 characters, of those who may change keys
    #[arg(long, env = "LB_API_TOKEN_FILE", value_name = "FILE")]
    pub api_token_file: Option<PathBuf>,
    /// A file with a token of those who may read
    #[arg(long, env = "LB_API_READ_TOKEN_FILE", value_name = "FILE")]
    pub api_read_token_file: Option<PathBuf>,
    /// A PEM bundle of certificate, chain and key: TLS is spoken at --stats then; watched
    #[arg(long, env = "LB_STATS_CERTIFICATE", value_name = "FILE")]
    pub stats_certificate: Option<PathBuf>,
    /// Authorities, PEM: clients with a certificate of theirs may read; watched
    #[arg(
        long,
        env = "LB_STATS_CLIENT_CA",
        value_name = "FILE",
        requires = "stats_certificate"
    )]
    pub stats_client_ca: Option<PathBuf>,
}
