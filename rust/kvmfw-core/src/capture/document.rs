//! The JSON document of a capture, field by field.

use serde::Deserialize;

use crate::json::Members;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    #[serde(rename = "format")]
    pub(super) _format: String,
    pub(super) version: u64,
    pub(super) host: HostDocument,
    pub(super) registers: Vec<String>,
    pub(super) vcpus: Vec<VcpuDocument>,
    #[serde(default)]
    pub(super) sweeps: Members<Vec<String>>,
    #[serde(default)]
    pub(super) answers: Vec<AnswerDocument>,
    #[serde(default)]
    pub(super) absent: Vec<AbsentDocument>,
    #[serde(default)]
    pub(super) writable_masks: Vec<MasksDocument>,
    #[serde(default)]
    pub(super) first_run: Vec<FirstRunDocument>,
    #[serde(default)]
    pub(super) surroundings: Members<BesideDocument>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HostDocument {
    pub(super) name: String,
    pub(super) kernel: String,
    pub(super) midr: String,
    #[serde(default)]
    pub(super) capabilities: Option<Members<i64>>,
    #[serde(default)]
    pub(super) kernel_build: Option<String>,
    #[serde(default, rename = "machine")]
    pub(super) _machine: Option<String>,
    #[serde(default)]
    pub(super) revidr: Option<String>,
    #[serde(default, rename = "boot_options")]
    pub(super) _boot_options: Option<String>,
    #[serde(default)]
    pub(super) predicted: Option<PredictedDocument>,
    #[serde(default)]
    pub(super) cores: Vec<CoreDocument>,
    #[serde(default)]
    pub(super) vulnerabilities: Option<Members<Option<String>>>,
}

/// One kind of CPU of a host that has several, each of which was asked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CoreDocument {
    pub(super) midr: String,
    pub(super) revidr: String,
    #[serde(rename = "processors")]
    pub(super) _processors: Vec<u32>,
}

/// Of a host that nobody asked under this kernel: under which one it was asked, and by what the rest was told.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PredictedDocument {
    pub(super) from: String,
    #[serde(rename = "by")]
    pub(super) _by: String,
}

/// What is not known of a vCPU, and what is known that it does not show.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HiddenDocument {
    #[serde(default)]
    pub(super) listed: Vec<String>,
    #[serde(default)]
    pub(super) bits: Members<String>,
    #[serde(default)]
    pub(super) hardware: Members<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VcpuDocument {
    pub(super) name: String,
    pub(super) features: Vec<String>,
    #[serde(default)]
    pub(super) enabled: Vec<String>,
    #[serde(default)]
    pub(super) refused: Option<String>,
    #[serde(default)]
    pub(super) vgic: Option<bool>,
    #[serde(default)]
    pub(super) pmu_initialised: Option<bool>,
    #[serde(default)]
    pub(super) values: Option<Vec<Option<String>>>,
    #[serde(default)]
    pub(super) same_value_refused: Option<Members<String>>,
    #[serde(default)]
    pub(super) unknown: Option<HiddenDocument>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AskedOn {
    pub(super) vcpus: Vec<String>,
    pub(super) states: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AnswerDocument {
    pub(super) register: String,
    pub(super) asked_on: Vec<AskedOn>,
    pub(super) value: String,
    #[serde(default)]
    pub(super) sweep: Option<String>,
    #[serde(default)]
    pub(super) kept: Vec<String>,
    #[serde(default)]
    pub(super) changed: Members<String>,
    #[serde(default)]
    pub(super) refused: Members<Vec<String>>,
    #[serde(default)]
    pub(super) otherwise: Option<String>,
    #[serde(default)]
    pub(super) nibbles: Option<Members<String>>,
    #[serde(default)]
    pub(super) same: Option<String>,
    #[serde(default)]
    pub(super) other: Option<String>,
    #[serde(default)]
    pub(super) zero: Option<String>,
    #[serde(default)]
    pub(super) ones: Option<String>,
}

impl AnswerDocument {
    /// A key that only the other form of an answer has: by value, or by nibble.
    pub(super) fn misplaced(&self) -> Option<&'static str> {
        let of_values = [
            ("sweep", self.sweep.is_some()),
            ("kept", !self.kept.is_empty()),
            ("refused", !self.refused.0.is_empty()),
            ("otherwise", self.otherwise.is_some()),
        ];
        let of_nibbles = [
            ("same", self.same.is_some()),
            ("other", self.other.is_some()),
            ("zero", self.zero.is_some()),
            ("ones", self.ones.is_some()),
        ];
        let others = if self.nibbles.is_some() { of_values } else { of_nibbles };
        others.into_iter().find_map(|(key, is_there)| is_there.then_some(key))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AbsentDocument {
    pub(super) vcpus: Vec<String>,
    pub(super) refused: Members<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MasksDocument {
    pub(super) vcpus: Vec<String>,
    pub(super) masks: Members<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FirstRunDocument {
    pub(super) vcpus: Vec<String>,
    pub(super) written: Members<String>,
    pub(super) changed: Members<Option<String>>,
}

/// What stands beside registers: its value or the error with which the host says that it has none, and answers to writes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BesideDocument {
    #[serde(default)]
    pub(super) value: Option<String>,
    #[serde(default)]
    pub(super) errno: Option<String>,
    #[serde(default)]
    pub(super) kept: Vec<String>,
    #[serde(default)]
    pub(super) changed: Members<String>,
    #[serde(default)]
    pub(super) refused: Members<Vec<String>>,
}
