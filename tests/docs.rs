//! The documents say what the code does.

#[test]
fn the_readme_names_every_variable_with_its_default() {
    let readme = include_str!("../README.md");
    for row in imagewatch::config::VARIABLES {
        let name = format!("`{}`", row.name);
        let line = readme
            .lines()
            .find(|line| line.starts_with('|') && line.contains(&name));
        let line = line.unwrap_or_else(|| panic!("{} has no row in the README", row.name));
        let default = format!("| `{}` |", row.default);
        let is_said = row.default.is_empty() || line.contains(&default);
        assert!(
            is_said,
            "{}: the README says another default: {line}",
            row.name
        );
    }
}
