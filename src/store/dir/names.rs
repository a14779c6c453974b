//! Which names in a directory are keys.

/// What a name is to the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameKind {
    Key,
    /// Hidden, or left behind by an editor.
    Ignored,
    /// `..data` and its like: no key, but links in the same directory lead through it.
    Indirection,
}

pub(super) fn kind_of(name: &str) -> NameKind {
    if name.starts_with("..") {
        return NameKind::Indirection;
    }
    let is_left_behind = name.starts_with('.')
        || name.ends_with('~')
        || (name.starts_with('#') && name.ends_with('#'))
        || [".swp", ".swo", ".swx"].iter().any(|end| name.ends_with(end))
        // vim asks whether it may write here by creating this.
        || name == "4913";
    if is_left_behind {
        NameKind::Ignored
    } else {
        NameKind::Key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        let check = |name, kind| assert_eq!(kind_of(name), kind, "{name}");
        check("balance", NameKind::Key);
        check("www.example.com", NameKind::Key);
        check("web-1.swap", NameKind::Key);
        check(".git", NameKind::Ignored);
        check("balance~", NameKind::Ignored);
        check(".balance.swp", NameKind::Ignored);
        check("#balance#", NameKind::Ignored);
        check("..data", NameKind::Indirection);
        check("..2026_11_20_10_00_00.123456", NameKind::Indirection);
    }
}
