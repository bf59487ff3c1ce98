//! Captures: what was recorded on one host, per vCPU configuration.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value as Json;

use crate::answers::{Answers, ByNibble, ByValue, Code, Codes, State};
use crate::errno::Errno;
use crate::error::FormatError;
use crate::id::RegisterId;
use crate::json::{self, Members};
use crate::set::{parse_any_id, parse_id};
use crate::value::Value;
use crate::vcpu::VcpuConfig;

/// What was recorded on one host.
#[derive(Clone, Debug)]
pub struct Capture {
    /// The host's name.
    pub name: String,
    /// The kernel release, as `uname -r` prints it.
    pub kernel: String,
    /// `MIDR_EL1` of the host.
    pub midr: u64,
    /// `KVM_CHECK_EXTENSION` number -> value, zeros left out; `None` where not recorded.
    pub capabilities: Option<Vec<(u32, i64)>>,
    /// What `/sys/devices/system/cpu/vulnerabilities/spec_store_bypass` says; `None` where not recorded.
    pub spec_store_bypass: Option<String>,
    /// The vCPU configurations that were asked.
    pub vcpus: Vec<Vcpu>,
}

/// One vCPU configuration that a host was asked for.
#[derive(Clone, Debug)]
pub struct Vcpu {
    /// Its name in the capture.
    pub name: String,
    /// How it was made. `vgic` means nothing where KVM refused to make it.
    pub config: VcpuConfig,
    /// What was recorded of it, or the error with which KVM refused to make it.
    pub made: Result<Made, Errno>,
}

/// What was recorded of one vCPU.
#[derive(Clone, Debug, Default)]
pub struct Made {
    /// Whether the PMU's device attributes were set; `None` where not recorded.
    pub pmu_initialised: Option<bool>,
    /// The registers in the order of `KVM_GET_REG_LIST`, with the values of a fresh vCPU.
    pub registers: Vec<(RegisterId, Value)>,
    /// Registers that refused their own fresh value; `None` where that was not asked.
    pub same_value_refused: Option<Vec<(RegisterId, Errno)>>,
    /// Answers to single writes.
    pub answers: Vec<(RegisterId, State, Arc<Answers>)>,
    /// Ids that are not listed and were written nevertheless, ascending.
    pub absent: Vec<(RegisterId, Errno)>,
    /// `KVM_ARM_GET_REG_WRITABLE_MASKS`, ascending; `None` where the kernel reports none.
    pub masks: Option<Vec<(RegisterId, u64)>>,
    /// What registers read after the first run; `None` where that was not recorded.
    pub trials: Option<Vec<Trial>>,
}

/// What the first `KVM_RUN` of a fresh VM did to its registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// The values of at most 8 bytes that were written before the run, ascending by id.
    pub written: Vec<(RegisterId, u64)>,
    /// What read otherwise after the run, ascending by id; `None`: it was not there any more.
    pub changed: Vec<(RegisterId, Option<u64>)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "format")]
    _format: String,
    #[serde(rename = "version")]
    _version: u64,
    host: HostDocument,
    registers: Vec<String>,
    vcpus: Vec<VcpuDocument>,
    #[serde(default)]
    sweeps: Members<Vec<String>>,
    #[serde(default)]
    answers: Vec<AnswerDocument>,
    #[serde(default)]
    absent: Vec<AbsentDocument>,
    #[serde(default)]
    writable_masks: Vec<MasksDocument>,
    #[serde(default)]
    first_run: Vec<FirstRunDocument>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HostDocument {
    name: String,
    kernel: String,
    midr: String,
    #[serde(default)]
    capabilities: Option<Members<i64>>,
    #[serde(default, rename = "kernel_build")]
    _kernel_build: Json,
    #[serde(default, rename = "machine")]
    _machine: Json,
    #[serde(default, rename = "revidr")]
    _revidr: Json,
    #[serde(default, rename = "boot_options")]
    _boot_options: Json,
    #[serde(default)]
    vulnerabilities: Option<Members<Json>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VcpuDocument {
    name: String,
    features: Vec<String>,
    #[serde(default)]
    enabled: Vec<String>,
    #[serde(default)]
    refused: Option<String>,
    #[serde(default)]
    vgic: Option<bool>,
    #[serde(default)]
    pmu_initialised: Option<bool>,
    #[serde(default)]
    values: Option<Vec<Option<String>>>,
    #[serde(default)]
    same_value_refused: Option<Members<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedOn {
    vcpus: Vec<String>,
    states: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AnswerDocument {
    register: String,
    asked_on: Vec<AskedOn>,
    value: String,
    #[serde(default)]
    sweep: Option<String>,
    #[serde(default)]
    kept: Vec<String>,
    #[serde(default)]
    changed: Members<String>,
    #[serde(default)]
    refused: Members<Vec<String>>,
    #[serde(default)]
    otherwise: Option<String>,
    #[serde(default)]
    nibbles: Option<Members<String>>,
    #[serde(default)]
    same: Option<String>,
    #[serde(default)]
    other: Option<String>,
    #[serde(default)]
    zero: Option<String>,
    #[serde(default)]
    ones: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AbsentDocument {
    vcpus: Vec<String>,
    refused: Members<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MasksDocument {
    vcpus: Vec<String>,
    masks: Members<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FirstRunDocument {
    vcpus: Vec<String>,
    written: Members<String>,
    changed: Members<Option<String>>,
}

impl Capture {
    /// Reads a `kvmfw-capture` document.
    ///
    /// # Errors
    ///
    /// When the text is not JSON, not such a document, or contradicts itself.
    pub fn from_json(text: &[u8]) -> Result<Self, FormatError> {
        let document: Document = json::read(text, "kvmfw-capture", 2)?;
        Builder::new(&document)?.build(&document)
    }
}

struct Builder {
    sweeps: Vec<(String, Vec<String>)>,
    vcpus: Vec<Vcpu>,
}

impl Builder {
    fn new(document: &Document) -> Result<Self, FormatError> {
        let ids = document
            .registers
            .iter()
            .enumerate()
            .map(|(at, id)| id_at(id, || format!("registers[{at}]")))
            .collect::<Result<Vec<_>, _>>()?;
        reject_duplicates(ids.iter().copied(), "registers")?;
        let vcpus = document
            .vcpus
            .iter()
            .enumerate()
            .map(|(at, vcpu)| read_vcpu(vcpu, &ids, &format!("vcpus[{at}]")))
            .collect::<Result<Vec<_>, _>>()?;
        for (at, vcpu) in vcpus.iter().enumerate() {
            if vcpus.iter().take(at).any(|other| other.name == vcpu.name) {
                let problem = format!("the vCPU name `{}` occurs twice", vcpu.name);
                return Err(FormatError::new(format!("vcpus[{at}].name"), problem));
            }
        }
        Ok(Self { sweeps: document.sweeps.0.clone(), vcpus })
    }

    fn build(mut self, document: &Document) -> Result<Capture, FormatError> {
        for (at, answer) in document.answers.iter().enumerate() {
            self.add_answers(answer, &format!("answers[{at}]"))?;
        }
        for (at, absent) in document.absent.iter().enumerate() {
            let place = format!("absent[{at}]");
            let mut refused = Vec::new();
            for (errno, ids) in &absent.refused.0 {
                let errno = errno_at(errno, || format!("{place}.refused"))?;
                for id in ids {
                    let id = parse_any_id(id)
                        .map_err(|problem| FormatError::new(format!("{place}.refused.{errno}"), problem))?;
                    refused.push((id, errno));
                }
            }
            refused.sort_unstable();
            reject_duplicates(refused.iter().map(|(id, _)| *id), &place)?;
            for vcpu in &absent.vcpus {
                self.made(vcpu, &place)?.absent.clone_from(&refused);
            }
        }
        for (at, group) in document.writable_masks.iter().enumerate() {
            let place = format!("writable_masks[{at}]");
            let mut masks = Vec::new();
            for (id, mask) in &group.masks.0 {
                let register = id_at(id, || format!("{place}.masks"))?;
                masks.push((register, word_at(mask, register, || format!("{place}.masks.{id}"))?));
            }
            masks.sort_unstable();
            reject_duplicates(masks.iter().map(|(id, _)| *id), &place)?;
            for vcpu in &group.vcpus {
                self.made(vcpu, &place)?.masks = Some(masks.clone());
            }
        }
        for (at, trial) in document.first_run.iter().enumerate() {
            self.add_trial(trial, &format!("first_run[{at}]"))?;
        }
        let midr = word_at(&document.host.midr, RegisterId::system(3, 0, 0, 0, 0), || "host.midr".to_owned())?;
        let capabilities = document
            .host
            .capabilities
            .as_ref()
            .map(|capabilities| {
                capabilities.0.iter().map(|(number, value)| Ok((capability_number(number)?, *value))).collect::<Result<
                    Vec<_>,
                    FormatError,
                >>(
                )
            })
            .transpose()?;
        Ok(Capture {
            name: document.host.name.clone(),
            kernel: document.host.kernel.clone(),
            midr,
            capabilities,
            spec_store_bypass: spec_store_bypass(&document.host),
            vcpus: self.vcpus,
        })
    }

    fn made(&mut self, name: &str, place: &str) -> Result<&mut Made, FormatError> {
        let vcpu = self.vcpus.iter_mut().find(|vcpu| vcpu.name == name);
        let vcpu = vcpu.ok_or_else(|| FormatError::new(place, format!("there is no vCPU named `{name}`")))?;
        vcpu.made
            .as_mut()
            .map_err(|_| FormatError::new(place, format!("the vCPU `{name}` was refused, it cannot have answered")))
    }

    fn add_trial(&mut self, document: &FirstRunDocument, place: &str) -> Result<(), FormatError> {
        let mut written = Vec::new();
        for (id, value) in &document.written.0 {
            let register = id_at(id, || format!("{place}.written"))?;
            written.push((register, word_at(value, register, || format!("{place}.written.{id}"))?));
        }
        let mut changed = Vec::new();
        for (id, value) in &document.changed.0 {
            let register = id_at(id, || format!("{place}.changed"))?;
            let value = value.as_ref().map(|value| word_at(value, register, || format!("{place}.changed.{id}")));
            changed.push((register, value.transpose()?));
        }
        written.sort_unstable();
        changed.sort_unstable();
        reject_duplicates(written.iter().map(|(id, _)| *id), place)?;
        reject_duplicates(changed.iter().map(|(id, _)| *id), place)?;
        for vcpu in &document.vcpus {
            let trial = Trial { written: written.clone(), changed: changed.clone() };
            self.made(vcpu, place)?.trials.get_or_insert_with(Vec::new).push(trial);
        }
        Ok(())
    }

    fn add_answers(&mut self, document: &AnswerDocument, place: &str) -> Result<(), FormatError> {
        let register = id_at(&document.register, || format!("{place}.register"))?;
        let answers = Arc::new(match &document.nibbles {
            Some(nibbles) => Answers::ByNibble(Box::new(read_nibbles(document, nibbles, register, place)?)),
            None => Answers::ByValue(self.read_values(document, register, place)?),
        });
        for asked in &document.asked_on {
            for state in &asked.states {
                let state = State::from_name(state).ok_or_else(|| {
                    let problem = format!("`{state}` is not a state; expected fresh, exited or ran");
                    FormatError::new(format!("{place}.asked_on"), problem)
                })?;
                for vcpu in &asked.vcpus {
                    let made = self.made(vcpu, place)?;
                    if made.answers.iter().any(|(id, when, _)| *id == register && *when == state) {
                        let problem =
                            format!("register {register} has two answers on `{vcpu}`, state {}", state.name());
                        return Err(FormatError::new(place, problem));
                    }
                    made.answers.push((register, state, Arc::clone(&answers)));
                }
            }
        }
        Ok(())
    }

    fn read_values(
        &self,
        document: &AnswerDocument,
        register: RegisterId,
        place: &str,
    ) -> Result<ByValue, FormatError> {
        let value = |text: &str| value_at(text, register, || place.to_owned());
        value(&document.value)?;
        let mut kept = document.kept.iter().map(|text| value(text)).collect::<Result<Vec<_>, _>>()?;
        let mut changed = document
            .changed
            .0
            .iter()
            .map(|(written, read)| Ok((value(written)?, value(read)?)))
            .collect::<Result<Vec<_>, FormatError>>()?;
        let mut refused = Vec::new();
        for (errno, values) in &document.refused.0 {
            let errno = errno_at(errno, || format!("{place}.refused"))?;
            for text in values {
                refused.push((value(text)?, errno));
            }
        }
        kept.sort_unstable();
        changed.sort_unstable();
        refused.sort_unstable();
        let mut seen: Vec<&Value> = kept.iter().collect();
        seen.extend(changed.iter().map(|(written, _)| written));
        seen.extend(refused.iter().map(|(written, _)| written));
        seen.sort_unstable();
        if let Some(twice) = seen.windows(2).find(|pair| pair.first() == pair.last()) {
            let problem = format!(
                "the value {} of register {register} is answered twice",
                twice.first().map_or_else(String::new, ToString::to_string)
            );
            return Err(FormatError::new(place, problem));
        }
        let otherwise = match (&document.sweep, &document.otherwise) {
            (Some(name), Some(errno)) => {
                let sweep = self.sweeps.iter().find(|(known, _)| known == name);
                let (_, texts) = sweep.ok_or_else(|| {
                    FormatError::new(format!("{place}.sweep"), format!("there is no sweep named `{name}`"))
                })?;
                let mut values = texts.iter().map(|text| value(text)).collect::<Result<Vec<_>, _>>()?;
                values.sort_unstable();
                Some((values.into(), errno_at(errno, || format!("{place}.otherwise"))?))
            }
            (None, Some(_)) => {
                return Err(FormatError::new(place, "`otherwise` needs the name of a `sweep`"));
            }
            (_, None) => None,
        };
        Ok(ByValue { kept, changed, refused, otherwise })
    }
}

fn read_nibbles(
    document: &AnswerDocument,
    nibbles: &Members<String>,
    register: RegisterId,
    place: &str,
) -> Result<ByNibble, FormatError> {
    let letter = |code: &Option<String>, key: &str| {
        let text = code.as_deref().unwrap_or("");
        match text.as_bytes() {
            [letter] => Code::from_letter(*letter),
            _ => None,
        }
        .ok_or_else(|| FormatError::new(format!("{place}.{key}"), format!("`{text}` is not one answer code")))
    };
    let mut table = [None; 16];
    for (shift, codes) in &nibbles.0 {
        let spot = || format!("{place}.nibbles.{shift}");
        let number = shift.parse::<usize>().ok().filter(|shift| shift % 4 == 0 && *shift < 64);
        let nibble = number.and_then(|shift| table.get_mut(shift / 4));
        let nibble = nibble.ok_or_else(|| FormatError::new(spot(), "expected a multiple of 4 below 64"))?;
        let codes = codes
            .bytes()
            .map(Code::from_letter)
            .collect::<Option<Vec<_>>>()
            .and_then(|codes| Some(Codes::new(<[Code; 16]>::try_from(codes).ok()?)));
        let codes = codes.ok_or_else(|| FormatError::new(spot(), "expected 16 answer codes"))?;
        if nibble.replace(codes).is_some() {
            return Err(FormatError::new(spot(), "the nibble occurs twice"));
        }
    }
    let mut changed = document
        .changed
        .0
        .iter()
        .map(|(written, read)| {
            let spot = || format!("{place}.changed");
            Ok((word_at(written, register, spot)?, word_at(read, register, spot)?))
        })
        .collect::<Result<Vec<_>, FormatError>>()?;
    changed.sort_unstable();
    Ok(ByNibble {
        value: word_at(&document.value, register, || format!("{place}.value"))?,
        nibbles: table,
        same: letter(&document.same, "same")?,
        other: letter(&document.other, "other")?,
        zero: letter(&document.zero, "zero")?,
        ones: letter(&document.ones, "ones")?,
        changed,
    })
}

fn read_vcpu(document: &VcpuDocument, ids: &[RegisterId], place: &str) -> Result<Vcpu, FormatError> {
    let at = |key: &str| format!("{place}.{key}");
    let features = VcpuConfig::parse_features(document.features.iter().map(String::as_str))
        .map_err(|problem| FormatError::new(at("features"), problem))?;
    let enabled = VcpuConfig::parse_enabled(document.enabled.iter().map(String::as_str))
        .map_err(|problem| FormatError::new(at("enabled"), problem))?;
    let mut config = VcpuConfig { features, enabled, vgic: false };
    let made = if let Some(errno) = &document.refused {
        if document.values.is_some() {
            return Err(FormatError::new(place, "a vCPU has either `refused` or `values`, not both"));
        }
        Err(errno_at(errno, || at("refused"))?)
    } else {
        let missing = |key: &str| FormatError::new(at(key), "is missing; a vCPU has it unless it was `refused`");
        config.vgic = document.vgic.ok_or_else(|| missing("vgic"))?;
        let values = document.values.as_ref().ok_or_else(|| missing("values"))?;
        if values.len() != ids.len() {
            let problem = format!("has {} entries, expected {}, one for each of `registers`", values.len(), ids.len());
            return Err(FormatError::new(at("values"), problem));
        }
        let mut registers = Vec::with_capacity(values.len());
        for (&id, value) in ids.iter().zip(values) {
            if let Some(text) = value {
                registers.push((id, value_at(text, id, || at("values"))?));
            }
        }
        let same_value_refused = document
            .same_value_refused
            .as_ref()
            .map(|members| {
                members
                    .0
                    .iter()
                    .map(|(id, errno)| {
                        let spot = || at("same_value_refused");
                        Ok((id_at(id, spot)?, errno_at(errno, spot)?))
                    })
                    .collect::<Result<Vec<_>, FormatError>>()
            })
            .transpose()?;
        Ok(Made { pmu_initialised: document.pmu_initialised, registers, same_value_refused, ..Made::default() })
    };
    Ok(Vcpu { name: document.name.clone(), config, made })
}

fn reject_duplicates(ids: impl Iterator<Item = RegisterId>, place: &str) -> Result<(), FormatError> {
    let mut ids: Vec<_> = ids.collect();
    ids.sort_unstable();
    match ids.windows(2).find(|pair| pair.first() == pair.last()).and_then(|pair| pair.first()) {
        Some(twice) => Err(FormatError::new(place, format!("register {twice} occurs twice"))),
        None => Ok(()),
    }
}

fn spec_store_bypass(host: &HostDocument) -> Option<String> {
    let entry = host.vulnerabilities.as_ref()?.0.iter().find(|(name, _)| name == "spec_store_bypass");
    entry.and_then(|(_, text)| text.as_str()).map(str::to_owned)
}

fn capability_number(text: &str) -> Result<u32, FormatError> {
    text.parse().map_err(|_| FormatError::new("host.capabilities", format!("`{text}` is not a capability number")))
}

fn id_at(text: &str, place: impl Fn() -> String) -> Result<RegisterId, FormatError> {
    parse_id(text).map_err(|problem| FormatError::new(place(), problem))
}

fn value_at(text: &str, register: RegisterId, place: impl Fn() -> String) -> Result<Value, FormatError> {
    Value::parse(text, register).map_err(|problem| FormatError::new(place(), problem))
}

fn word_at(text: &str, register: RegisterId, place: impl Fn() -> String) -> Result<u64, FormatError> {
    let value = value_at(text, register, &place)?;
    value.word().ok_or_else(|| FormatError::new(place(), format!("register {register} is wider than 8 bytes")))
}

fn errno_at(text: &str, place: impl Fn() -> String) -> Result<Errno, FormatError> {
    Errno::from_name(text).ok_or_else(|| FormatError::new(place(), format!("`{text}` is not a known error name")))
}
