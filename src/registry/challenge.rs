//! Challenges: the `WWW-Authenticate` header (RFC 9110 §11.6.1), with which a registry asks for a login.

/// One way to authenticate that a registry offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// User name and password in every request (RFC 7617).
    Basic,
    /// A token from `realm` (distribution spec, "Token Authentication").
    Bearer {
        /// The token endpoint's URL.
        realm: String,
        /// The name of the service, which is passed on to the token endpoint.
        service: Option<String>,
        /// The scopes of the token, as the registry names them.
        scopes: Vec<String>,
    },
}

/// The most scopes of one challenge that are used. Real challenges have one or two.
const MOST_SCOPES: usize = 8;
/// The longest scope that is used, in bytes. Real scopes are short.
const LONGEST_SCOPE: usize = 512;
/// The scope that GHCR sends as an example, without a particular repository.
const EXAMPLE: &str = "repository:user/image:pull";

impl Challenge {
    /// The best challenge of all header values: Bearer if it has a realm, else Basic. Unknown schemes are
    /// skipped. A malformed header is read up to its fault.
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
                        return Some(Self::Bearer {
                            realm,
                            service: parameter("service"),
                            scopes: scopes(&parameters),
                        });
                    }
                    ("basic", _) => best = Some(Self::Basic),
                    _ => {}
                }
            }
        }
        best
    }

    /// Takes the scopes out. They belong to one repository; the rest belongs to the whole host.
    #[must_use]
    pub fn take_scopes(&mut self) -> Vec<String> {
        match self {
            Self::Bearer { scopes, .. } => std::mem::take(scopes),
            Self::Basic => Vec::new(),
        }
    }
}

/// The scopes of a challenge. A blank separates two scopes, and the parameter may be repeated.
fn scopes(parameters: &[(String, String)]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let values = parameters.iter().filter(|(key, _)| key == "scope");
    for scope in values.flat_map(|(_, value)| value.split_ascii_whitespace()) {
        let is_new = scope != EXAMPLE && !found.iter().any(|one| one == scope);
        if is_new && scope.len() <= LONGEST_SCOPE && found.len() < MOST_SCOPES {
            found.push(scope.to_owned());
        }
    }
    found
}

/// A scheme in lower case and its parameters, their keys in lower case.
type Parsed = (String, Vec<(String, String)>);

/// Reads all challenges of one header value, up to the first fault.
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
                // The comma between two parameters is missing, so the last one is not trusted.
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

/// Splits a token (RFC 9110 §5.6.2) off.
fn token(text: &str) -> (&str, &str) {
    let legal = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let end = text.find(|c| !legal(c)).unwrap_or(text.len());
    text.split_at(end)
}

/// Reads a quoted string without its escapes, or everything up to the next comma or space.
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
            scopes: Vec::new(),
        })
    }

    /// The best challenge without its scopes. Scopes have a test of their own.
    fn best(header: &str) -> Option<Challenge> {
        let mut best = Challenge::best([header]);
        let _ = best.as_mut().map(Challenge::take_scopes);
        best
    }

    #[test]
    fn scopes_are_read_in_every_form() {
        let long = "x".repeat(LONGEST_SCOPE + 1);
        let many: String = (0..20).map(|number| format!("{number} ")).collect();
        let first: Vec<String> = (0..MOST_SCOPES).map(|number| number.to_string()).collect();
        let first: Vec<&str> = first.iter().map(String::as_str).collect();
        for (parameters, expected) in [
            ("", Vec::new()),
            (r#",scope="""#, Vec::new()),
            (
                r#",scope="repository:a/b:pull""#,
                vec!["repository:a/b:pull"],
            ),
            (
                r#",Scope="repository:a/b:pull,push""#,
                vec!["repository:a/b:pull,push"],
            ),
            (
                r#",scope="repository:a/b:pull  repository:c/d:pull""#,
                vec!["repository:a/b:pull", "repository:c/d:pull"],
            ),
            (r#",scope="a",scope="b a",scope=c"#, vec!["a", "b", "c"]),
            (&format!(r#",scope="{long} a""#), vec!["a"]),
            (&format!(r#",scope="{many}""#), first),
        ] {
            let header = format!(r#"Bearer realm="https://a/t"{parameters}"#);
            let mut challenge = Challenge::best([&*header]).expect("a challenge");
            assert_eq!(challenge.take_scopes(), expected, "{header}");
            assert_eq!(Some(challenge), bearer("https://a/t", None), "{header}");
        }
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
            assert_eq!(best(header), expected, "{header}");
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
