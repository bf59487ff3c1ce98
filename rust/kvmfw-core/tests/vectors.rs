//! The golden vectors of `tests/vectors/*.json`, the same that the Python tests read (its README tells the format).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use kvmfw_core::answers::State;
use kvmfw_core::{Finding, Host, Policy, Question, RegisterId, RegisterSet, Verdict, catalog, validate};
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

type Words = Map<String, Json>;
type Outcome<T> = Result<T, String>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "about")]
    _about: String,
    #[serde(default)]
    hosts: BTreeMap<String, Map<String, Json>>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    source: String,
    host: Json,
    #[serde(default)]
    with: Map<String, Json>,
    set: Set,
    #[serde(default = "kvm")]
    vmm: String,
    #[serde(default = "fresh")]
    state: String,
    expect: Expect,
}

fn kvm() -> String {
    "kvm".to_owned()
}

fn fresh() -> String {
    "fresh".to_owned()
}

fn psci() -> Vec<String> {
    vec!["psci_0_2".to_owned()]
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetHost {
    kernel: String,
    #[serde(default = "psci")]
    features: Vec<String>,
    #[serde(default = "yes")]
    vgic: bool,
    #[serde(default)]
    enabled: Vec<String>,
    registers: Words,
    masks: Option<Words>,
    #[serde(default)]
    vulnerabilities: Words,
    #[serde(default)]
    capabilities: Map<String, Json>,
    #[serde(default)]
    pmu_initialised: Option<bool>,
    #[serde(default)]
    refuses: Vec<Refused>,
    #[serde(default)]
    without_vgic: Option<Words>,
    #[serde(default)]
    surroundings: Words,
    #[serde(default)]
    unknown: Option<Unknown>,
    #[serde(default)]
    cores: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unknown {
    #[serde(default)]
    listed: Vec<String>,
    #[serde(default)]
    bits: Words,
    #[serde(default)]
    hardware: Words,
}

impl Unknown {
    fn document(&self) -> Outcome<Json> {
        let listed: Vec<String> = self.listed.iter().map(|name| Ok(id(name)?.to_string())).collect::<Outcome<_>>()?;
        Ok(json!({"listed": listed, "bits": by_id(&self.bits)?, "hardware": by_id(&self.hardware)?}))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refused {
    features: Vec<String>,
    #[serde(default)]
    enabled: Vec<String>,
    errno: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Set {
    #[serde(default)]
    from: Option<String>,
    #[serde(default)]
    registers: Words,
    #[serde(default)]
    surroundings: Words,
    #[serde(default)]
    without: Vec<String>,
    #[serde(default)]
    features: Option<Vec<String>>,
    #[serde(default)]
    vgic: Option<bool>,
    #[serde(default)]
    enabled: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    outcome: String,
    #[serde(default)]
    findings: Vec<Expected>,
    #[serde(default)]
    others: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    register: Option<String>,
    effect: String,
    #[serde(default)]
    errno: Option<String>,
    #[serde(default)]
    reads: Option<String>,
}

fn id(text: &str) -> Outcome<RegisterId> {
    if let Some(digits) = text.strip_prefix("0x") {
        return u64::from_str_radix(digits, 16).map(RegisterId::new).map_err(|error| format!("{text}: {error}"));
    }
    catalog::find(text).ok_or_else(|| format!("`{text}` is neither a register name nor an id"))
}

/// Ids in hexadecimal instead of names.
fn by_id(words: &Words) -> Outcome<Words> {
    words.iter().map(|(name, value)| Ok((id(name)?.to_string(), value.clone()))).collect()
}

impl TargetHost {
    fn of(said: &Json, hosts: &BTreeMap<String, Map<String, Json>>, with: &Map<String, Json>) -> Outcome<Self> {
        let mut plain = match said {
            Json::String(name) => hosts.get(name).ok_or_else(|| format!("there is no host `{name}`"))?.clone(),
            Json::Object(host) => host.clone(),
            _ => return Err("a host is a name or an object".to_owned()),
        };
        for (key, value) in with {
            match (plain.get_mut(key), value) {
                (Some(Json::Object(own)), Json::Object(changed)) if key == "registers" => own.extend(changed.clone()),
                _ => {
                    plain.insert(key.clone(), value.clone());
                }
            }
        }
        if !plain.contains_key("masks") {
            return Err("`masks` is missing".to_owned());
        }
        serde_json::from_value(Json::Object(plain)).map_err(|error| error.to_string())
    }

    /// The capture of this host, without a single answer.
    fn capture(&self) -> Outcome<Json> {
        let registers = by_id(&self.registers)?;
        let unknown = self.unknown.as_ref().map(Unknown::document).transpose()?;
        let vcpu = |name: &str, vgic: bool, values: &Words| {
            json!({"name": name, "features": self.features, "enabled": self.enabled, "vgic": vgic,
                "pmu_initialised": self.pmu_initialised, "values": values.values().collect::<Vec<_>>(), "unknown": unknown})
        };
        let mut vcpus = vec![vcpu("vm", self.vgic, &registers)];
        if let Some(changed) = &self.without_vgic {
            let mut bare = registers.clone();
            bare.extend(by_id(changed)?);
            vcpus.push(vcpu("no vgic", false, &bare));
        }
        let mut masks = Vec::new();
        let mut capabilities = self.capabilities.clone();
        capabilities.insert("3".to_owned(), json!(1));
        if let Some(words) = &self.masks {
            let names: Vec<&Json> = vcpus.iter().map(|vcpu| &vcpu["name"]).collect();
            masks.push(json!({"vcpus": names, "masks": by_id(words)?}));
            capabilities.insert("230".to_owned(), json!(1));
        }
        for (at, refused) in self.refuses.iter().enumerate() {
            vcpus.push(json!({"name": format!("refused {at}"), "features": refused.features,
                "enabled": refused.enabled, "refused": refused.errno}));
        }
        let midr = registers.get(&catalog::MIDR.to_string()).cloned().unwrap_or_else(|| json!("0x413fd0c1"));
        let core = |(at, midr)| json!({"midr": midr, "revidr": "0x0", "processors": [at]});
        Ok(json!({
            "format": "kvmfw-capture", "version": 4,
            "surroundings": self.surroundings,
            "host": {"name": "target", "kernel": self.kernel, "midr": midr,
                "vulnerabilities": self.vulnerabilities, "capabilities": capabilities, "cores": self.cores.iter().enumerate().map(core).collect::<Vec<_>>()},
            "registers": registers.keys().collect::<Vec<_>>(),
            "vcpus": vcpus,
            "writable_masks": masks,
        }))
    }
}

impl Case {
    fn judge(&self, hosts: &BTreeMap<String, Map<String, Json>>) -> Outcome<Verdict> {
        let target = TargetHost::of(&self.host, hosts, &self.with)?;
        let source = match self.set.from.as_deref() {
            None => None,
            Some("target") => Some(TargetHost::of(&self.host, hosts, &self.with)?),
            Some(name) if self.host == json!(name) => Some(TargetHost::of(&self.host, hosts, &self.with)?),
            Some(name) => Some(TargetHost::of(&json!(name), hosts, &Map::new())?),
        };
        let mut registers = source.as_ref().map_or_else(|| Ok(Words::new()), |source| by_id(&source.registers))?;
        registers.extend(by_id(&self.set.registers)?);
        for name in &self.set.without {
            registers.remove(&id(name)?.to_string()).ok_or_else(|| format!("`{name}` is not in the set"))?;
        }
        let like = source.as_ref().unwrap_or(&target);
        let set = json!({
            "format": "kvmfw-register-set", "version": 2, "id": self.name,
            "surroundings": self.set.surroundings,
            "vcpu": {
                "features": self.set.features.as_ref().unwrap_or(&like.features),
                "vgic": self.set.vgic.unwrap_or(like.vgic),
                "enabled": self.set.enabled.as_ref().unwrap_or(&like.enabled),
            },
            "registers": registers,
        });
        let set = RegisterSet::from_json(set.to_string().as_bytes()).map_err(|error| error.to_string())?;
        let host = Host::from_json(target.capture()?.to_string().as_bytes()).map_err(|error| error.to_string())?;
        let policy = Policy::from_name(&self.vmm).ok_or_else(|| format!("the policy `{}` is not known", self.vmm))?;
        let state = State::from_name(&self.state).ok_or_else(|| format!("the state `{}` is not known", self.state))?;
        Ok(validate(&set, &host, Question { policy, state, ..Question::default() }))
    }

    fn expected(&self) -> Outcome<Vec<String>> {
        let mut lines = vec![self.expect.outcome.clone()];
        for finding in &self.expect.findings {
            let register = finding.register.as_deref().map(id).transpose()?;
            lines.push(line(register, &finding.effect, finding.errno.as_deref(), finding.reads.as_deref()));
        }
        Ok(lines)
    }

    fn given(&self, verdict: &Verdict) -> Outcome<Vec<String>> {
        let named = self.expect.findings.iter().map(|finding| finding.register.as_deref().map(id).transpose());
        let named = named.collect::<Outcome<BTreeSet<_>>>()?;
        let counts = |finding: &&Finding| self.expect.others.is_none() || named.contains(&finding.register);
        let mut lines = vec![verdict.outcome.name().to_owned()];
        lines.extend(verdict.findings.iter().filter(counts).map(|finding| {
            let effect = &finding.judgement.effect;
            let reads = effect.reads().map(ToString::to_string);
            line(
                finding.register,
                effect.name(),
                effect.errno().map(|errno| errno.to_string()).as_deref(),
                reads.as_deref(),
            )
        }));
        Ok(lines)
    }

    /// What is wrong with this case, if anything.
    fn problem(&self, hosts: &BTreeMap<String, Map<String, Json>>) -> Option<String> {
        let compared = self.judge(hosts).and_then(|verdict| Ok((self.given(&verdict)?, self.expected()?)));
        match compared {
            Ok((given, expected)) if given == expected => None,
            Ok((given, expected)) => Some(format!("said {given:?}, expected {expected:?} ({})", self.source)),
            Err(problem) => Some(problem),
        }
    }
}

fn line(register: Option<RegisterId>, effect: &str, errno: Option<&str>, reads: Option<&str>) -> String {
    let name = register.map_or_else(|| "the whole".to_owned(), catalog::name_of);
    format!("{name}: {effect} {} reads {}", errno.unwrap_or("-"), reads.unwrap_or("-"))
}

#[test]
fn the_engine_says_what_was_written_by_hand() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    let (mut cases, mut problems) = (0, Vec::new());
    for path in &paths {
        let document: Document = serde_json::from_slice(&fs::read(path).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for case in &document.cases {
            cases += 1;
            let name = path.file_stem().unwrap_or_default().display();
            problems.extend(case.problem(&document.hosts).map(|problem| format!("{name}: {}: {problem}", case.name)));
        }
    }
    assert!(paths.len() > 30 && cases > 400, "{} files, {cases} cases", paths.len());
    assert!(problems.is_empty(), "{} of {cases} cases:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn an_unknown_key_is_refused() {
    let case = |extra: &str| {
        let text =
            format!(r#"{{"name":"a","source":"b","host":"c","set":{{}},"expect":{{"outcome":"ACCEPT"}}{extra}}}"#);
        serde_json::from_str::<Case>(&text)
    };
    assert!(case("").is_ok());
    assert!(case(r#","colour":"red""#).is_err_and(|error| error.to_string().contains("unknown field `colour`")));
}
