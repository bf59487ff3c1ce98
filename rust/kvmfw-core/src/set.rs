//! Register sets: what was saved of one vCPU.

use serde::Deserialize;

use crate::capture::{check_version, surrounding_at, surrounding_value};
use crate::error::FormatError;
use crate::id::{RegisterId, parse_register};
use crate::json::{self, Members};
use crate::value::Value;
use crate::vcpu::VcpuConfig;
use crate::vmms;

/// The registers saved of one vCPU, ordered by id, and how the vCPU is made. Immutable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterSet {
    /// The VM's name; empty where it has none.
    pub name: String,
    /// The host that the VM runs on, where known.
    pub host: Option<String>,
    /// How the VMM makes the vCPU.
    pub vcpu: VcpuConfig,
    registers: Vec<(RegisterId, Value)>,
    /// The place of each register in its file, where that was not ascending.
    places: Option<Box<[u32]>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "format")]
    _format: String,
    version: u64,
    #[serde(default)]
    id: String,
    #[serde(default)]
    host: Option<String>,
    #[serde(default)]
    vmm: Option<String>,
    vcpu: Vcpu,
    #[serde(default, rename = "note")]
    _note: String,
    registers: Members<String>,
    #[serde(default)]
    surroundings: Members<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vcpu {
    features: Vec<String>,
    vgic: bool,
    #[serde(default)]
    enabled: Vec<String>,
}

impl RegisterSet {
    /// Makes a set of registers. An order that is not ascending by id is kept as that of the VMM's writes.
    ///
    /// # Errors
    ///
    /// When an id occurs twice.
    pub fn new(
        name: impl Into<String>,
        host: Option<String>,
        vcpu: VcpuConfig,
        registers: Vec<(RegisterId, Value)>,
    ) -> Result<Self, FormatError> {
        let ascends = registers.is_sorted_by_key(|(id, _)| *id);
        let mut numbered: Vec<(u32, (RegisterId, Value))> = (0..).zip(registers).collect();
        numbered.sort_by_key(|(_, (id, _))| *id);
        let (places, registers): (Vec<u32>, Vec<(RegisterId, Value)>) = numbered.into_iter().unzip();
        for pair in registers.windows(2) {
            if let [(first, _), (second, _)] = pair
                && first == second
            {
                return Err(FormatError::new(format!("registers.{first}"), "the register occurs twice"));
            }
        }
        Ok(Self { name: name.into(), host, vcpu, registers, places: (!ascends).then(|| places.into()) })
    }

    /// Reads a `kvmfw-register-set` document.
    ///
    /// # Errors
    ///
    /// When the text is not JSON, not such a document, or contradicts itself: duplicate ids, or values
    /// wider than their register.
    pub fn from_json(text: &[u8]) -> Result<Self, FormatError> {
        let document: Document = json::read(text, "kvmfw-register-set", 3)?;
        let features = VcpuConfig::parse_features(document.vcpu.features.iter().map(String::as_str))
            .map_err(|problem| FormatError::new("vcpu.features", problem))?;
        let enabled = VcpuConfig::parse_enabled(document.vcpu.enabled.iter().map(String::as_str))
            .map_err(|problem| FormatError::new("vcpu.enabled", problem))?;
        let number = |name: String| {
            let problem = || format!("vmm `{name}` is not known (`kvmfw vmms` lists all)");
            vmms::number_of(&name).ok_or_else(|| FormatError::new("vmm", problem()))
        };
        let vmm = document.vmm.map(number).transpose()?;
        let vcpu = VcpuConfig { features, enabled, vgic: document.vcpu.vgic, vmm };
        let registers = document
            .registers
            .0
            .into_iter()
            .map(|(id, value)| {
                let place = || format!("registers.{id}");
                let register = parse_register(&id).map_err(|problem| FormatError::new(place(), problem))?;
                let value = Value::parse(&value, register).map_err(|problem| FormatError::new(place(), problem))?;
                Ok((register, value))
            })
            .collect::<Result<Vec<_>, FormatError>>()?;
        check_version(!document.surroundings.0.is_empty(), document.version, 2)?;
        let beside = document.surroundings.0.into_iter().map(|(name, value)| {
            let id = surrounding_at(&name, "surroundings")?;
            Ok((id, surrounding_value(&value, id, || format!("surroundings.{name}"))?))
        });
        let beside = beside.collect::<Result<Vec<_>, FormatError>>()?;
        Self::new(document.id, document.host, vcpu, registers.into_iter().chain(beside).collect())
    }

    /// The registers, ascending by id, and behind them what stands beside them ([`RegisterId::is_surrounding`]).
    pub fn registers(&self) -> &[(RegisterId, Value)] {
        &self.registers
    }

    /// The registers in the order of their file, which is the order of writing of some VMMs.
    pub fn in_file_order(&self) -> Vec<&(RegisterId, Value)> {
        let mut placed: Vec<(u32, &(RegisterId, Value))> =
            self.registers.iter().map(|pair| (self.place(pair.0).unwrap_or(0), pair)).collect();
        placed.sort_by_key(|(place, _)| *place);
        placed.into_iter().map(|(_, pair)| pair).collect()
    }

    /// The place of `register` in its file, where the file was not ascending by id.
    pub(crate) fn place(&self, register: RegisterId) -> Option<u32> {
        self.places.as_ref()?.get(self.at(register)?).copied()
    }

    /// The name of the VMM whose VM it is, where that is told.
    pub fn vmm(&self) -> Option<&'static str> {
        self.vcpu.vmm.and_then(vmms::name_of)
    }

    /// The saved value of `register`.
    pub fn get(&self, register: RegisterId) -> Option<&Value> {
        self.registers.get(self.at(register)?).map(|(_, value)| value)
    }

    fn at(&self, register: RegisterId) -> Option<usize> {
        self.registers.binary_search_by_key(&register, |(id, _)| *id).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(registers: &str) -> String {
        format!(
            r#"{{"format":"kvmfw-register-set","version":1,"id":"a","vcpu":{{"features":["psci_0_2"],"vgic":true}},"registers":{registers}}}"#
        )
    }

    #[test]
    fn a_set_is_ordered_by_id() {
        let text = document(r#"{"0x6030000000140001":"0x2","0x6030000000140000":"0x10001"}"#);
        let set = RegisterSet::from_json(text.as_bytes()).unwrap();
        assert_eq!(set.registers()[0].0, RegisterId::firmware(0));
        assert_eq!(set.get(RegisterId::firmware(1)), Some(&Value::Word(2)));
        let ids: Vec<RegisterId> = set.in_file_order().into_iter().map(|(id, _)| *id).collect();
        assert_eq!(ids, [RegisterId::firmware(1), RegisterId::firmware(0)], "the order of the file is kept");
        assert_eq!((set.place(RegisterId::firmware(0)), set.place(RegisterId::firmware(2))), (Some(1), None));
        assert!(set.vcpu.has("psci_0_2") && !set.vcpu.has("sve"));
    }

    #[test]
    fn bad_documents_are_named_by_place() {
        for (text, place) in [
            (document(r#"{"0x6030000000140001":"0x2","0x6030000000140001":"0x2"}"#), "registers.0x6030000000140001"),
            (document(r#"{"0x6020000000110000":"0x1ffffffff"}"#), "registers.0x6020000000110000"),
            (document(r#"{"x":"0x1"}"#), "registers.x"),
            (document(r#"{"0x1":1}"#), "registers.0x1"),
            (document("{}").replace("\"version\":1", "\"version\":7"), "version"),
            (document("{}").replace("register-set", "capture"), "format"),
            (document("{}").replace("psci_0_2", "psci"), "vcpu.features"),
            (document("{}").replace("\"id\"", "\"vmm\":\"qemu-1.0\",\"id\""), "vmm"),
            (document("{}")[..40].to_owned(), "line 1 column 40"),
        ] {
            assert_eq!(RegisterSet::from_json(text.as_bytes()).unwrap_err().place, place, "{text}");
        }
    }
}
