//! Keys for S3, from the environment and from the files of AWS's own tools.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Credentials, CredentialsError, Secret, malformed, read, unsupported};

/// What is known of S3.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Aws {
    /// The keys; without, requests are not signed.
    pub keys: Option<AwsKeys>,
    /// The region, if it is said.
    pub region: Option<String>,
    /// The server, if it is said.
    pub endpoint: Option<String>,
}

/// Keys to S3.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AwsKeys {
    /// The public half.
    pub id: String,
    /// The secret half.
    pub secret: Secret,
    /// What comes with keys that hold for some hours.
    pub token: Option<Secret>,
}

/// A profile's settings.
type Profile = BTreeMap<String, String>;

/// Ways to get keys that kiln does not know, by the setting that begins them.
const UNKNOWN: [&str; 5] = [
    "credential_process",
    "role_arn",
    "sso_session",
    "sso_start_url",
    "web_identity_token_file",
];

pub(super) fn of(all: &Credentials) -> Result<Aws, CredentialsError> {
    let profile = all
        .variable("AWS_PROFILE")
        .or_else(|| all.variable("AWS_DEFAULT_PROFILE"));
    let keys_file = all.file("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials");
    let config_file = all.file("AWS_CONFIG_FILE", ".aws/config");
    let name = profile.unwrap_or("default");
    let long_name = match name {
        "default" => name.to_owned(),
        _ => format!("profile {name}"),
    };
    let keys_profile = section(keys_file, name)?;
    let config_profile = section(config_file, &long_name)?;
    let variable = |name: &str| all.variable(name).map(str::to_owned);
    let setting = |name: &str| {
        let (_, settings) = config_profile.as_ref()?;
        settings.get(name).cloned()
    };
    let region = variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION"));
    let keys = match of_variables(all)? {
        Some(keys) => Some(keys),
        None => of_files(profile, &[&keys_profile, &config_profile])?,
    };
    Ok(Aws {
        keys,
        region: region.or_else(|| setting("region")),
        endpoint: variable("AWS_ENDPOINT_URL_S3").or_else(|| setting("endpoint_url")),
    })
}

fn of_variables(all: &Credentials) -> Result<Option<AwsKeys>, CredentialsError> {
    let id = all.variable("AWS_ACCESS_KEY_ID");
    let secret = all.variable("AWS_SECRET_ACCESS_KEY");
    match (id, secret) {
        (Some(id), Some(secret)) => Ok(Some(AwsKeys {
            id: id.to_owned(),
            secret: Secret::new(secret),
            token: all.variable("AWS_SESSION_TOKEN").map(Secret::new),
        })),
        (None, None) => Ok(None),
        _ => Err(malformed(
            "the environment",
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY go together, and one is missing",
        )),
    }
}

/// The keys of the first profile that has some. One that was asked for by name
/// has to be there.
fn of_files(
    asked: Option<&str>,
    profiles: &[&Option<(PathBuf, Profile)>],
) -> Result<Option<AwsKeys>, CredentialsError> {
    let there: Vec<_> = profiles
        .iter()
        .filter_map(|profile| profile.as_ref())
        .collect();
    for (path, profile) in &there {
        let get = |name: &str| profile.get(name).map(String::as_str);
        match (get("aws_access_key_id"), get("aws_secret_access_key")) {
            (Some(id), Some(secret)) => {
                return Ok(Some(AwsKeys {
                    id: id.to_owned(),
                    secret: Secret::new(secret),
                    token: get("aws_session_token").map(Secret::new),
                }));
            }
            (None, None) => {}
            _ => {
                let problem = "aws_access_key_id and aws_secret_access_key go together";
                return Err(malformed(path.display(), problem));
            }
        }
    }
    for (path, profile) in &there {
        if let Some(way) = UNKNOWN.iter().find(|way| profile.contains_key(**way)) {
            let instead = "set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, as `aws configure export-credentials --format env` prints them";
            return Err(unsupported(path, format!("`{way}`"), instead));
        }
    }
    match asked {
        Some(name) if there.is_empty() => {
            let problem = format!("no file of AWS has the profile `{name}`");
            Err(malformed("AWS_PROFILE", problem))
        }
        _ => Ok(None),
    }
}

fn section(
    path: Option<PathBuf>,
    name: &str,
) -> Result<Option<(PathBuf, Profile)>, CredentialsError> {
    let Some((path, text)) = read(path)? else {
        return Ok(None);
    };
    let section = parse(&path, &text)?.remove(name);
    Ok(section.map(|section| (path, section)))
}

pub(in crate::cache) fn parse(
    path: &Path,
    text: &str,
) -> Result<BTreeMap<String, Profile>, CredentialsError> {
    let mut sections: BTreeMap<String, Profile> = BTreeMap::new();
    let mut current: Option<String> = None;
    for (at, line) in text.lines().enumerate() {
        // Indented lines belong to the setting above, none of which is read.
        if line.trim().is_empty() || line.starts_with(['#', ';', ' ', '\t']) {
            continue;
        }
        if let Some(name) = line.trim().strip_prefix('[') {
            let name = name.split(']').next().unwrap_or_default();
            let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
            sections.entry(name.clone()).or_default();
            current = Some(name);
            continue;
        }
        let section = current.as_ref().and_then(|name| sections.get_mut(name));
        let (Some(section), Some((key, value))) = (section, line.split_once('=')) else {
            // The line may be a secret that somebody pasted.
            let problem = format!("line {}: expected `[profile]` or `name = value`", at + 1);
            return Err(malformed(path.display(), problem));
        };
        let key = key.trim().to_ascii_lowercase();
        section.insert(key, value.trim().to_owned());
    }
    Ok(sections)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const KEYS: &str = "[default]\naws_access_key_id = AK\naws_secret_access_key=s3cret=\n\n[ work ]\n# note\naws_access_key_id = WK\naws_secret_access_key = w\naws_session_token = t\n[half]\naws_access_key_id = HK\n";
    const CONFIG: &str = "[default]\nregion = eu-west-1\ns3 =\n  addressing_style = path\n[profile work]\nregion = us-west-2\nendpoint_url = http://s3.example\n[profile helped]\ncredential_process = /bin/x\n";

    fn check(variables: &[(&str, &str)], expected: Result<(Option<&str>, Option<&str>), &str>) {
        let home = tempfile::tempdir().expect("a directory");
        let directory = home.path().join(".aws");
        fs::create_dir(&directory).expect("it is new");
        fs::write(directory.join("credentials"), KEYS).expect("it can be written");
        fs::write(directory.join("config"), CONFIG).expect("it can be written");
        let variables = variables
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()));
        let got = of(&Credentials::of(variables, Some(home.path().to_owned())));
        match (got, expected) {
            (Ok(aws), Ok((id, region))) => {
                assert_eq!(aws.keys.as_ref().map(|keys| keys.id.as_str()), id);
                assert_eq!(aws.region.as_deref(), region);
            }
            (Err(error), Err(part)) => {
                assert!(error.to_string().contains(part), "{error}");
                assert!(!error.to_string().contains("s3cret"), "{error}");
            }
            (got, expected) => panic!("{got:?} is not {expected:?}"),
        }
    }

    #[test]
    fn the_environment_comes_before_the_profile() {
        check(&[], Ok((Some("AK"), Some("eu-west-1"))));
        check(
            &[("AWS_PROFILE", "work")],
            Ok((Some("WK"), Some("us-west-2"))),
        );
        let own = [
            ("AWS_ACCESS_KEY_ID", "EK"),
            ("AWS_SECRET_ACCESS_KEY", "e"),
            ("AWS_REGION", "here"),
        ];
        check(&own, Ok((Some("EK"), Some("here"))));
        let elsewhere = [
            ("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent"),
            ("AWS_CONFIG_FILE", "/nonexistent"),
        ];
        check(&elsewhere, Ok((None, None)));
    }

    #[test]
    fn what_gives_no_keys_is_named() {
        check(&[("AWS_PROFILE", "half")], Err("go together"));
        check(&[("AWS_PROFILE", "helped")], Err("`credential_process`"));
        check(&[("AWS_PROFILE", "nobody")], Err("the profile `nobody`"));
        check(&[("AWS_ACCESS_KEY_ID", "x")], Err("one is missing"));
    }

    #[test]
    fn a_pasted_secret_is_not_shown() {
        let error = parse(Path::new("f"), "[default]\ns3cret\n").expect_err("no `=`");
        assert_eq!(
            error.to_string(),
            "f: line 2: expected `[profile]` or `name = value`"
        );
    }
}
