//! Which rules were proved of which kernels: what `make prove` found and writes beside docs/proofs.md.
//!
//! A rule is known again by its formulas: one that says something else by now was not proved.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::rule::Rule;
use super::smt::Fresh;
use crate::id::RegisterId;

/// Lines of `kernel`, release and build, and of `rule`, a digest of formulas, a bit for each of these kernels, and registers.
const TEXT: &str = include_str!("proved.txt");

static TABLE: LazyLock<Table> = LazyLock::new(|| Table::read(TEXT));

#[derive(Debug, Default, PartialEq, Eq)]
struct Table {
    kernels: Vec<(&'static str, &'static str)>,
    rules: BTreeMap<(RegisterId, u64), u64>,
}

impl Table {
    fn read(text: &'static str) -> Self {
        let mut table = Self::default();
        for line in text.lines() {
            let cells: Vec<&str> = line.split('\t').collect();
            match cells.as_slice() {
                ["kernel", release, build] => table.kernels.push((release, build)),
                ["rule", digest, kernels, registers] => table.add(digest, kernels, registers).unwrap_or_default(),
                _ => {}
            }
        }
        table
    }

    fn add(&mut self, digest: &str, kernels: &str, registers: &str) -> Option<()> {
        let number = |digits: &str| u64::from_str_radix(digits, 16).ok();
        let (digest, kernels) = (number(digest)?, number(kernels)?);
        for register in registers.split(' ') {
            self.rules.insert((RegisterId::new(number(register)?), digest), kernels);
        }
        Some(())
    }

    fn has(&self, kernel: (&str, &str), register: RegisterId, rule: &Rule) -> bool {
        // Where it depends on the VM's own SSBS, a host with this level may be in another state than the one of the proof.
        if matches!(rule, Rule::Workaround2(_)) {
            return false;
        }
        let Some(place) = self.kernels.iter().position(|known| *known == kernel) else { return false };
        [Fresh::Number, Fresh::Symbol]
            .into_iter()
            .filter_map(|fresh| rule.smt(fresh))
            .any(|told| self.rules.get(&(register, told.digest())).is_some_and(|kernels| kernels >> place & 1 == 1))
    }
}

/// Whether a rule for a register was proved of this kernel: its release and its build.
pub(crate) fn is_proved(kernel: (&str, &str), register: RegisterId, rule: &Rule) -> bool {
    TABLE.has(kernel, register, rule)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::PSCI_VERSION;
    use crate::rules::firmware::Workaround2;
    use crate::rules::{Facts, Release, derive};
    use crate::value::Value;
    use crate::vcpu::VcpuConfig;

    const KERNELS: [(&str, &str); 2] = [("6.1.0-56-arm64", "#1 one"), ("6.1.0-56-arm64", "#2 two")];

    fn table(rule: &Rule, kernels: &str) -> Table {
        let digest = rule.smt(Fresh::Number).unwrap().digest();
        let mut table = Table { kernels: KERNELS.into(), ..Table::default() };
        table.add(&format!("{digest:016x}"), kernels, "6030000000140000 6030000000140001").unwrap();
        table
    }

    #[test]
    fn what_was_proved_of_one_build_is_not_of_another_nor_of_another_rule() {
        let table = table(&Rule::Level(1), "2");
        assert!(table.has(KERNELS[1], PSCI_VERSION, &Rule::Level(1)));
        assert!(!table.has(KERNELS[0], PSCI_VERSION, &Rule::Level(1)));
        assert!(!table.has(KERNELS[1], PSCI_VERSION, &Rule::Level(2)));
        assert!(!table.has(KERNELS[1], RegisterId::new(0x6030_0000_0014_0003), &Rule::Level(1)));
        assert!(!table.has(("6.1.0-56-arm64", ""), PSCI_VERSION, &Rule::Level(1)));
        assert!(!table.has(KERNELS[1], PSCI_VERSION, &Rule::Unknown("ask")));
    }

    #[test]
    fn each_kernel_has_a_bit_of_its_own() {
        let table = table(&Rule::Level(1), "1");
        assert_eq!(KERNELS.map(|kernel| table.has(kernel, PSCI_VERSION, &Rule::Level(1))), [true, false]);
    }

    #[test]
    fn what_was_proved_is_found_by_the_kernel_of_a_host() {
        let registers = [(PSCI_VERSION, Value::Word(0x1_0001))];
        let config =
            VcpuConfig { features: VcpuConfig::parse_features(["psci_0_2"]).unwrap(), ..VcpuConfig::default() };
        let (release, build) = TABLE.kernels[1];
        let facts = Facts { release: Release::parse(release), config, registers: &registers, ..Facts::default() };
        let rule = derive(PSCI_VERSION, &facts);
        assert!(is_proved((release, build), PSCI_VERSION, &rule));
        assert!(!is_proved((release, "#1 SMP of somebody else"), PSCI_VERSION, &rule));
    }

    #[test]
    fn a_level_that_the_vms_own_fields_change_is_not_said_to_be_proved() {
        let rule = Rule::Workaround2(Workaround2 { level: 0, raised_without_ssbs: Some(false) });
        assert!(!table(&rule, "3").has(KERNELS[0], PSCI_VERSION, &rule));
    }

    #[test]
    fn every_line_of_the_table_is_read() {
        let lines = |word: &str| TEXT.lines().filter(|line| line.starts_with(word)).count();
        let registers = TEXT.lines().filter(|line| line.starts_with("rule")).map(|line| line.split(' ').count());
        assert_eq!((TABLE.kernels.len(), TABLE.rules.len()), (lines("kernel\t"), registers.sum::<usize>()));
        assert!(TABLE.kernels.len() <= 64);
        assert!(
            TABLE
                .rules
                .values()
                .all(|kernels| kernels.checked_shr(u32::try_from(TABLE.kernels.len()).unwrap()).unwrap_or(0) == 0)
        );
    }
}
