//! Laws of VMs that are all different: whichever way they are looked at, they are of the same classes.

#![expect(clippy::expect_used, reason = "a law that cannot be set up has failed")]

mod saved;

use kvmfw_core::{Fleet, Named, Question, Runs, VcpuConfig};
use proptest::prelude::*;
use saved::{PFR0, PFR1, Saved, capture, config, hosts_of, saved};

/// VMs in columns: how each is made, and its registers.
fn add_made(fleet: &Fleet, vms: &[(u32, Saved)]) -> Vec<usize> {
    let mut starts = vec![0_i64];
    let (mut register, mut value, mut config_of) = (Vec::new(), Vec::new(), Vec::new());
    for (made, vm) in vms {
        register.extend(vm.iter().map(|(id, _)| *id));
        value.extend(vm.iter().map(|(_, value)| *value));
        starts.push(i64::try_from(value.len()).expect("few rows"));
        config_of.push(*made);
    }
    let configs = [config(), VcpuConfig { vgic: false, ..config() }];
    let rows = Runs {
        starts: &starts,
        register: &register,
        value: &value,
        configs: &configs,
        config_of: &config_of,
        vmm_of: &[],
    };
    let mut change = fleet.change();
    let errors = change.add_runs(rows, Named::default()).expect("columns that fit");
    change.commit();
    errors.into_iter().map(|error| error.row).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn vms_looked_at_register_by_register_are_those_looked_at_one_by_one(
        kinds in proptest::collection::vec((prop_oneof![4 => Just(0_u32), 2 => Just(1), 1 => Just(Runs::INFERRED)], saved()), 1..5),
        made_otherwise in any::<bool>(),
        repeats in prop_oneof![Just(0_u64), Just(9), Just(3)],
        special in proptest::collection::vec((0..40_000_usize, 0..5_u8), 0..4),
        hosts in proptest::collection::vec(capture(), 1..4),
    ) {
        const PSTATE: u64 = 0x6030_0000_0010_0042;
        const X0: u64 = 0x6030_0000_0010_0000;
        const NARROW: u64 = 0x6020_0000_0010_00d4;
        let mut kinds = kinds;
        if made_otherwise {
            // Those that have the same registers follow each other, but their vCPUs are made otherwise.
            kinds = kinds.into_iter().flat_map(|(made, vm)| [(made, vm.clone()), (u32::from(made == 0), vm)]).collect();
        }
        let mut vms: Vec<(u32, Saved)> = Vec::new();
        for number in 0..40_000_u64 {
            let (made, mut vm) = kinds[usize::try_from(number).expect("small") % kinds.len()].clone();
            vm.retain(|(id, _)| *id != PFR1);
            // One in so many is like one before it.
            let own = if repeats > 0 && number % repeats == 0 { number / 2 } else { number };
            vm.extend([(PFR1, own << 8), (PSTATE, 5), (X0, number), (NARROW, 0)]);
            vm.sort_unstable();
            vms.push((made, vm));
        }
        for (at, what) in special {
            let (made, vm) = &mut vms[at];
            let mut set = |register: u64, value: u64| vm.iter_mut().filter(|(id, _)| *id == register).for_each(|row| row.1 = value);
            match what {
                0 => *made = Runs::UNUSABLE,
                1 => {
                    set(PSTATE, 0x10);
                    set(X0, 1 << 40);
                }
                2 => set(NARROW, 1 << 32),
                3 => vm.push((PFR0 + 0x100, 7)),
                _ => vm.extend_from_within(0..1),
            }
        }
        let fleets = [1, 2, 3].map(|threads| Fleet::new(Question::default(), threads));
        let errors = fleets.each_ref().map(|fleet| add_made(fleet, &vms));
        let one_by_one = Fleet::new(Question::default(), 1);
        let mut wanted = Vec::new();
        let mut before = 0;
        for some in vms.chunks(1_000) {
            wanted.extend(add_made(&one_by_one, some).into_iter().map(|row| before + row));
            before += some.iter().map(|(_, vm)| vm.len()).sum::<usize>();
        }
        let classes = one_by_one.snapshot().vm_classes();
        hosts_of(&one_by_one, &hosts);
        let outcomes = one_by_one.snapshot();
        for (fleet, errors) in fleets.iter().zip(errors) {
            prop_assert_eq!(&errors, &wanted);
            prop_assert!(fleet.snapshot().vm_classes() == classes);
            hosts_of(fleet, &hosts);
            let fleet = fleet.snapshot();
            for vm in (0..vms.len()).step_by(397) {
                prop_assert_eq!(fleet.row_of(vm), outcomes.row_of(vm));
            }
        }
    }
}
