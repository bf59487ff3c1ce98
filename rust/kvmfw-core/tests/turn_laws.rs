//! Laws of changes of one step, which are made in place where nobody keeps a version.

#![expect(clippy::expect_used, reason = "a law that cannot be set up has failed")]

mod living;

use kvmfw_core::{Fleet, Question, RegisterSet};
use living::{Model, Step, WAYS, set, step};
use proptest::prelude::*;

/// Does a step in a turn of its own, where there is such a turn.
fn take_turn(model: &mut Model, step: &Step, fleet: &Fleet, number: usize) -> bool {
    let mut turn = fleet.turn();
    match *step {
        Step::Add { kind, count } => {
            let sets: Vec<RegisterSet> = (0..count as u64)
                .map(|at| set(kind + at, &format!("vm{number}.{at}"), Some("h0".to_owned())))
                .collect();
            let step = turn.adding(&sets);
            turn.make(&step);
            let now = fleet.snapshot();
            for set in sets {
                model.vms.push((now.vm(set.name.as_str()).expect("a VM"), set));
            }
        }
        Step::Remove { at, by } if !model.vms.is_empty() => {
            let row = at % model.vms.len();
            let (handle, gone) = model.vms.remove(row);
            let step = match by {
                0 => turn.removing([row]),
                1 => turn.removing([gone.name.as_str()]),
                _ => turn.removing([handle]),
            };
            turn.make(&step.expect("a VM"));
        }
        Step::Move { at, host } if !model.vms.is_empty() && !model.hosts.is_empty() => {
            let (row, host) = (at % model.vms.len(), host % model.hosts.len());
            model.vms[row].1.host = Some(model.hosts[host].1.name().to_owned());
            let step = turn.moving(row, Some(host.into())).expect("a VM and a host");
            turn.make(&step);
        }
        Step::Abandon { kind } => {
            let added = set(kind, "abandoned", None);
            assert_eq!(turn.adding([&added]).len(), 1);
            return false;
        }
        _ => return false,
    }
    true
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Nobody keeps a version most of the time, so that changes are made in place; what is kept stays.
    #[test]
    fn a_fleet_that_is_changed_in_place_is_one_built_from_scratch(
        first in 0..30_usize,
        steps in proptest::collection::vec(step(), 1..80),
        way in 0..WAYS.len(),
    ) {
        let fleet = Fleet::with_limits(Question::default(), 1, WAYS[way]);
        let mut model = Model::default();
        let mut change = fleet.change();
        model.begin(first, &mut change);
        let mut generation = change.commit().generation();
        let mut kept = None;
        // Names are looked at once: from then on changes can be made in place.
        prop_assert!(fleet.snapshot().vm("nobody").is_err());
        for (number, step) in steps.iter().enumerate() {
            if matches!(step, Step::Update { .. } | Step::AddHost { .. } | Step::Reboot { .. } | Step::RemoveHost { .. }) {
                let mut change = fleet.change();
                model.take(step, &mut change, number + 3);
                change.commit();
                generation += 1;
            } else {
                generation += u64::from(take_turn(&mut model, step, &fleet, number + 3));
            }
            prop_assert_eq!(fleet.snapshot().generation(), generation);
            match step {
                Step::Ask => model.check_all(&fleet.snapshot())?,
                Step::Abandon { .. } => kept = Some((fleet.snapshot(), model.clone())),
                Step::Update { .. } => kept = None,
                _ => {}
            }
            model.check(&fleet.snapshot())?;
        }
        model.check_all(&fleet.snapshot())?;
        if let Some((snapshot, model)) = kept {
            model.check(&snapshot)?;
            model.check_all(&snapshot)?;
        }
    }
}
