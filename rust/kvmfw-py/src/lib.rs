//! The native half of the `kvmfw` package: a translator without domain logic.

#![expect(clippy::needless_pass_by_value, reason = "PyO3 hands arguments over by value")]

mod arrays;
mod asked;
mod audit;
mod codes;
mod door;
mod errors;
mod fleet;
mod foretold;
mod judge;
mod kinds;
mod known;
mod left;
mod pages;
mod sets;
mod snapshot;
mod tables;
mod told;
mod traps;
mod values;
mod who;
mod words;

use pyo3::prelude::*;
use pyo3::types::PyString;

use self::values::Id;

/// Ids, names, meanings and kinds of the catalogue.
#[pyfunction]
fn catalog() -> Vec<(u64, &'static str, &'static str, String)> {
    kvmfw_core::catalog::CATALOG
        .iter()
        .map(|register| (register.id.raw(), register.name, register.meaning, format!("{:?}", register.kind)))
        .collect()
}

/// The names of the schemes.
#[pyfunction]
fn schemes() -> Vec<&'static str> {
    kvmfw_core::Scheme::ALL.iter().map(|scheme| scheme.name()).collect()
}

/// The words of a vCPU: names of feature bits and of enabled capabilities, by bit.
#[pyfunction]
fn vcpu_words() -> (Vec<&'static str>, Vec<&'static str>) {
    (kvmfw_core::FEATURES.to_vec(), kvmfw_core::ENABLED.to_vec())
}

/// The name of a register.
#[pyfunction]
fn register_name(register: Id) -> String {
    kvmfw_core::catalog::name_of(register.0)
}

/// The register of a name or id.
#[pyfunction]
fn find_register(text: &Bound<'_, PyString>) -> Option<u64> {
    kvmfw_core::catalog::find(&text.to_string_lossy()).map(kvmfw_core::RegisterId::raw)
}

/// What KVM takes in a register, and which kernels list it, in words.
#[pyfunction]
fn treatment(register: Id) -> (String, Option<&'static str>) {
    let Id(register) = register;
    (kvmfw_core::catalog::kind_of(register).takes(), kvmfw_core::catalog::listed_by(register))
}

/// The schemes that judge a register themselves; the target's KVM judges it under the others.
#[pyfunction]
fn schemes_of(register: Id) -> Vec<&'static str> {
    let Id(register) = register;
    let own = kvmfw_core::Scheme::ALL.into_iter().filter(|scheme| scheme.judges(register));
    own.map(kvmfw_core::Scheme::name).collect()
}

/// The id of the rule that speaks about a register, or about its absence from a host's list.
#[pyfunction]
fn rule_of(register: Id, absent: bool) -> &'static str {
    kvmfw_core::rule_of(register.0, absent).name()
}

/// Which of these registers KVM looks at the value of.
#[pyfunction]
fn looked_at(registers: Vec<u64>) -> Vec<bool> {
    registers.into_iter().map(|register| kvmfw_core::is_looked_at(kvmfw_core::RegisterId::new(register))).collect()
}

/// How a vCPU with these registers was made: names of features, whether there is a `GICv3`, names of enabled capabilities.
#[pyfunction]
fn inferred_vcpu(registers: Vec<u64>, words: Vec<u64>) -> (Vec<&'static str>, bool, Vec<&'static str>) {
    let made = kvmfw_core::Inference::default().of(&registers, &words);
    (made.feature_names(), made.vgic, made.enabled_names())
}

/// The rule ids: name, kinds of units that speak it (none: an audit), meaning, source, whether it says that the host lacks a register.
#[pyfunction]
fn rules() -> Vec<(&'static str, Vec<&'static str>, &'static str, &'static str, bool)> {
    let row = |rule: &kvmfw_core::RuleId| {
        let units = rule.units().iter().map(|unit| unit.name()).collect();
        (rule.name(), units, rule.meaning(), rule.source(), rule.tells_of_absence())
    };
    kvmfw_core::RuleId::ALL.iter().map(row).collect()
}

/// The fields of a register that have a name: name, lowest bit, width; from the highest bit down.
#[pyfunction]
fn fields(register: Id) -> Vec<(&'static str, u32, u32)> {
    kvmfw_core::rules::named_fields(register.0)
}

/// The fields in which two values of a register differ: name (empty for bits without one), highest bit, lowest bit, saved, own.
#[pyfunction]
fn field_differences(register: Id, saved: u64, own: u64) -> Vec<(&'static str, u32, u32, u64, u64)> {
    let found = kvmfw_core::rules::field_differences(register.0, saved, own);
    found.into_iter().map(|field| (field.name, field.high, field.low, field.saved, field.own)).collect()
}

/// Version, whether this is a debug build, and which source the core is of.
#[pyfunction]
fn build_info() -> (&'static str, bool, &'static str) {
    (env!("CARGO_PKG_VERSION"), cfg!(debug_assertions), kvmfw_core::SOURCE)
}

#[pymodule]
mod _native {
    #[pymodule_export]
    use super::audit::{Takers, Upgrades, census, cures, takers, unit_kinds, unknown_vms};
    #[pymodule_export]
    use super::build_info;
    #[pymodule_export]
    use super::catalog;
    #[pymodule_export]
    use super::door::forked;
    #[pymodule_export]
    use super::field_differences;
    #[pymodule_export]
    use super::fields;
    #[pymodule_export]
    use super::find_register;
    #[pymodule_export]
    use super::fleet::{Change, Fleet};
    #[pymodule_export]
    use super::foretold::{foretell, foretell_list, foretell_made};
    #[pymodule_export]
    use super::inferred_vcpu;
    #[pymodule_export]
    use super::judge::{ask, check_features, validate, vmm_of_all, vmm_problem, vmms};
    #[pymodule_export]
    use super::kinds::{Kinds, differing};
    #[pymodule_export]
    use super::known::{known_registers, known_releases};
    #[pymodule_export]
    use super::left::{add_like, class_sets, go_on, members_left};
    #[pymodule_export]
    use super::looked_at;
    #[pymodule_export]
    use super::pages::Pages;
    #[pymodule_export]
    use super::register_name;
    #[pymodule_export]
    use super::rule_of;
    #[pymodule_export]
    use super::rules;
    #[pymodule_export]
    use super::schemes;
    #[pymodule_export]
    use super::schemes_of;
    #[pymodule_export]
    use super::sets::{Host, RegisterSet};
    #[pymodule_export]
    use super::snapshot::Snapshot;
    #[pymodule_export]
    use super::tables::{
        capabilities, errnos, field_number, is_arm64, is_guests, is_surrounding, listed_first, psci_versions, release,
        settable,
    };
    #[pymodule_export]
    use super::told::{list_refuses, range_refuses};
    #[pymodule_export]
    use super::treatment;
    #[pymodule_export]
    use super::vcpu_words;
    #[pymodule_export]
    use super::who::{HostHandle, VmHandle};
    #[pymodule_export]
    use super::words::taken_as;
}
