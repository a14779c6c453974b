//! A file of users as `htpasswd` writes it, for the operator's listener. Only hashes: a file is read by more than the
//! program.

use std::sync::Arc;

use super::userlist::htpasswd;
use super::{USERS_PER_SERVICE, Users};

impl Users {
    /// All lines, or everything that is wrong with them, each with its number. No word of a line is shown but a user's
    /// name that stands twice.
    pub fn of_htpasswd(text: &str) -> Result<Self, Vec<String>> {
        let (mut users, mut problems) = (Vec::new(), Vec::new());
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let number = at + 1;
            match htpasswd(line) {
                Ok(_) if users.len() == USERS_PER_SERVICE => {
                    problems.push(format!(
                        "line {number} is one user too many: there may be {USERS_PER_SERVICE}"
                    ));
                    break;
                }
                Ok(entry) => users.push((number, Arc::new(entry.user))),
                Err(problem) => problems.push(format!(
                    "line {number} {}; write NAME:HASH, as htpasswd -nB NAME prints it: plain passwords are not taken",
                    problem.message
                )),
            }
        }
        users.sort_by(|a, b| a.1.name.cmp(&b.1.name));
        for pair in users.windows(2) {
            if let [(first, user), (second, again)] = pair
                && user.name == again.name
            {
                problems.push(format!(
                    "line {second} names user {:?} again, after line {first}; keep one of the two",
                    user.name
                ));
            }
        }
        match problems.is_empty() {
            true => Ok(Self(users.into_iter().map(|(_, user)| user).collect())),
            false => Err(problems),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_whole_or_all_that_is_wrong_is_told() {
        let text = "# who may\njoe:{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=\n\n";
        let users = Users::of_htpasswd(text).expect("one user");
        assert!(users.find(b"joe").is_some() && users.len() == 1);
        assert_eq!(Users::of_htpasswd("").map(|users| users.len()), Ok(0));

        let twice = "joe:{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=\n";
        let bad = format!("ann:opensesame\n{twice}nobody\n{twice}");
        let told = Users::of_htpasswd(&bad).expect_err("three problems");
        assert_eq!(told.len(), 3, "{told:?}");
        let all = told.join("\n");
        assert!(all.contains("line 1 has a password that"), "{all}");
        assert!(all.contains("line 3 names no user"), "{all}");
        assert!(all.contains("line 4 names user \"joe\" again"), "{all}");
        assert!(!all.contains("opensesame"), "{all}");
    }
}
