//! From a document to a capture that does not contradict itself.

use std::sync::Arc;

use super::asked::read_asked;
use super::document::{AnswerDocument, CoreDocument, Document, FirstRunDocument, HostDocument, VcpuDocument};
use super::hidden::read_hidden;
use super::places::{capability_number, errno_at, id_at, reject_duplicates, reject_repeated, value_at, word_at};
use super::recorded::{Capture, Hidden, Made, Trial, Vcpu};
use super::surroundings::read_surroundings;
use crate::answers::{Answers, ByNibble, ByValue, Code, Codes, State};
use crate::catalog;
use crate::error::FormatError;
use crate::id::RegisterId;
use crate::id::parse_any_id;
use crate::json::Members;
use crate::vcpu::VcpuConfig;

/// Puts a capture together.
pub(super) struct Builder {
    sweeps: Vec<(String, Vec<String>)>,
    vcpus: Vec<Vcpu>,
}

impl Builder {
    pub(super) fn new(document: &Document) -> Result<Self, FormatError> {
        let ids = document
            .registers
            .iter()
            .enumerate()
            .map(|(at, id)| id_at(id, || format!("registers[{at}]")))
            .collect::<Result<Vec<_>, _>>()?;
        reject_duplicates(ids.iter().copied(), "registers")?;
        reject_repeated(&document.sweeps, "sweeps")?;
        if let Some(told) = &document.host.vulnerabilities {
            reject_repeated(told, "host.vulnerabilities")?;
        }
        if let Some(told) = &document.host.capabilities {
            reject_repeated(told, "host.capabilities")?;
        }
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

    pub(super) fn build(mut self, document: &Document) -> Result<Capture, FormatError> {
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
        let word = |text: &str, number, place: &str| {
            word_at(text, RegisterId::system(3, 0, 0, 0, number), || place.to_owned())
        };
        let (midr_at, revidr_at) = (|text: &str, place| word(text, 0, place), |text: &str, place| word(text, 6, place));
        let midr = midr_at(&document.host.midr, "host.midr")?;
        document.host.revidr.iter().try_for_each(|text| revidr_at(text, "host.revidr").map(drop))?;
        let core = |core: &CoreDocument| {
            revidr_at(&core.revidr, "host.cores")?;
            midr_at(&core.midr, "host.cores")
        };
        let cores: Result<Vec<u64>, FormatError> = document.host.cores.iter().map(core).collect();
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
            kernel_build: document.host.kernel_build.clone(),
            predicted_from: document.host.predicted.as_ref().map(|told| told.from.clone()),
            midr,
            cores: cores?,
            capabilities,
            spec_store_bypass: spec_store_bypass(&document.host),
            surroundings: read_surroundings(&document.surroundings, document.version)?,
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
        if let Some(key) = document.misplaced() {
            let kind = if document.nibbles.is_some() { "is of answers by value, not by" } else { "needs" };
            return Err(FormatError::new(format!("{place}.{key}"), format!("`{key}` {kind} `nibbles`")));
        }
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
        let asked = read_asked(&document.kept, &document.changed, &document.refused, register, place)?;
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
        Ok(ByValue { otherwise, ..asked })
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
    if let Some([(twice, _), _]) = changed.windows(2).find(|pair| matches!(pair, [one, other] if one.0 == other.0)) {
        let problem = format!("the value {twice:#x} of register {register} is answered twice");
        return Err(FormatError::new(place, problem));
    }
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
    let mut config = VcpuConfig { features, enabled, ..VcpuConfig::default() };
    if config.is_unsure() {
        return Err(FormatError::new(at("enabled"), "a host was asked for one vCPU: nothing of it is unsure"));
    }
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
        let refused = || same_value_refused.iter().flatten().map(|(id, _)| *id);
        reject_duplicates(refused(), &at("same_value_refused"))?;
        if let Some(id) = refused().find(|id| !catalog::kind_of(*id).is_always_looked_at()) {
            let problem = format!(
                "{id} refused its own value, which no KVM looks at; expected a register that is judged by its value"
            );
            return Err(FormatError::new(at("same_value_refused"), problem));
        }
        let hidden = match &document.unknown {
            Some(unknown) => read_hidden(unknown, &registers, &at("unknown"))?,
            None => Hidden::default(),
        };
        Ok(Made { pmu_initialised: document.pmu_initialised, registers, same_value_refused, hidden, ..Made::default() })
    };
    Ok(Vcpu { name: document.name.clone(), config, made })
}

fn spec_store_bypass(host: &HostDocument) -> Option<String> {
    let entry = host.vulnerabilities.as_ref()?.0.iter().find(|(name, _)| name == "spec_store_bypass");
    entry.and_then(|(_, text)| text.clone())
}
