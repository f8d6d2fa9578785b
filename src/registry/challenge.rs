//! The `WWW-Authenticate` header (RFC 9110 §11.6.1): how a registry wants to be asked.

/// One way to authenticate that a registry offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// User name and password with every request (RFC 7617).
    Basic,
    /// A token from `realm` (distribution spec, "Token Authentication").
    Bearer {
        /// The token endpoint's URL.
        realm: String,
        /// Passed on to the token endpoint where given.
        service: Option<String>,
    },
}

impl Challenge {
    /// The best challenge of all header values: Bearer if it has a realm, else Basic. Unknown
    /// schemes are skipped; a malformed header ends the reading of that header.
    #[must_use]
    pub fn best<'a>(headers: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut best = None;
        for header in headers {
            for (scheme, parameters) in parse(header) {
                let parameter = |name: &str| {
                    let found = parameters.iter().find(|(key, _)| key == name);
                    found.map(|(_, value)| value.clone())
                };
                match (scheme.as_str(), parameter("realm")) {
                    ("bearer", Some(realm)) => {
                        let service = parameter("service");
                        return Some(Self::Bearer { realm, service });
                    }
                    ("basic", _) => best = Some(Self::Basic),
                    _ => {}
                }
            }
        }
        best
    }
}

/// A scheme in lower case and its parameters, their keys in lower case.
type Parsed = (String, Vec<(String, String)>);

/// All challenges of one header value, up to the first place that breaks the grammar.
fn parse(header: &str) -> Vec<Parsed> {
    let mut challenges: Vec<Parsed> = Vec::new();
    let mut rest = header.trim_start();
    while !rest.is_empty() {
        let (word, after) = token(rest);
        if word.is_empty() {
            break;
        }
        let after_space = after.trim_start();
        if let Some(value) = after_space.strip_prefix('=') {
            let Some((value, after)) = read_value(value.trim_start()) else {
                break;
            };
            let Some((_, parameters)) = challenges.last_mut() else {
                break;
            };
            parameters.push((word.to_ascii_lowercase(), value));
            rest = after.trim_start();
            match rest.strip_prefix(',') {
                Some(after) => rest = after.trim_start(),
                None if rest.is_empty() => {}
                // Two parameters without a comma between them: the last one is not to be trusted.
                None => {
                    parameters.pop();
                    break;
                }
            }
        } else {
            challenges.push((word.to_ascii_lowercase(), Vec::new()));
            rest = after_space.trim_start_matches(',').trim_start();
        }
    }
    challenges
}

/// A token (RFC 9110 §5.6.2) and what follows it.
fn token(text: &str) -> (&str, &str) {
    let legal = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let end = text.find(|c| !legal(c)).unwrap_or(text.len());
    text.split_at(end)
}

/// A quoted string with its escapes resolved, or everything up to the next comma or space.
fn read_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (end > 0).then(|| (text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            _ => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
        })
    }

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:docker/docker:pull""#;
        let hub_basic = format!(r#"{hub}, Basic realm="GitHub Package Registry""#);
        let basic_hub = format!(r#"Basic realm="x", {hub}"#);
        let docker = bearer("https://auth.docker.io/token", Some("registry.docker.io"));
        for (header, expected) in [
            (hub, docker.clone()),
            (&hub_basic, docker.clone()),
            (&basic_hub, docker),
            (
                r#"Basic realm="GitHub Package Registry""#,
                Some(Challenge::Basic),
            ),
            (
                r#"BaSiC ReAlM="Case insensitive key""#,
                Some(Challenge::Basic),
            ),
            ("Basic realm=unquoted", Some(Challenge::Basic)),
            ("Basic realm=/", Some(Challenge::Basic)),
            ("Basic", Some(Challenge::Basic)),
            (
                r#"Basic realm="Dev", charset="UTF-8""#,
                Some(Challenge::Basic),
            ),
            (
                r#"Bearer realm="http://127.0.0.1:5000/openshift/token""#,
                bearer("http://127.0.0.1:5000/openshift/token", None),
            ),
            (
                r#"Bearer realm="https://a/t",service="he\"l\lo, x""#,
                bearer("https://a/t", Some("he\"llo, x")),
            ),
            (r#"bearer REALM="https://a/t""#, bearer("https://a/t", None)),
            (r#"Negotiate, Basic realm="x""#, Some(Challenge::Basic)),
            (r#"Bearer service="x""#, None),
            (r#"Bearer realm="https://a/t" service="x""#, None),
            (r#"Bearer realm="unclosed"#, None),
            (r#"Bearer realm="ends in an escape\"#, None),
            ("", None),
            ("=,=\"", None),
            ("Negotiate", None),
        ] {
            assert_eq!(Challenge::best([header]), expected, "{header}");
        }
    }

    #[test]
    fn several_headers_are_searched_for_the_best() {
        let headers = [
            r#"Basic realm="gitea""#,
            r#"Bearer realm="https://git.example/v2/token""#,
        ];
        assert_eq!(
            Challenge::best(headers),
            bearer("https://git.example/v2/token", None)
        );
    }

    #[test]
    fn no_input_panics() {
        for seed in 0..20_000_u32 {
            let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
            let text: String = (0..12)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    b"Bb =,\"\\axr\tr"[(state >> 24) as usize % 12] as char
                })
                .collect();
            let _ = Challenge::best([text.as_str()]);
        }
    }
}
