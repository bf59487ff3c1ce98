//! Laws of layers, against one vector and one table, and of what they ask memory for.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn layers_have_what_one_vector_and_one_table_would_have(
        steps in proptest::collection::vec((0..40_usize, any::<bool>(), any::<bool>()), 0..60),
    ) {
        let (mut items, mut numbers) = (Items::<usize>::default(), Numbers::default());
        let (mut all, mut kept) = (Vec::new(), Vec::new());
        // Few hashes, so that many have the same one.
        let hash = |item: usize| u32::try_from(item % 7).unwrap_or(0);
        for (count, settles, keeps) in steps {
            let first = all.len();
            for item in first..first + count {
                numbers.insert(hash(item), u32::try_from(item).unwrap_or(0));
                all.push(item);
            }
            items.extend(first..first + count);
            prop_assert_eq!(items.range(first, count), all.get(first..));
            if keeps {
                kept.push((items.clone(), all.len()));
            }
            let layers = items.settled.len();
            prop_assert_eq!(items.size(), all.len() * size_of::<usize>());
            prop_assert_eq!(items.bytes(), (items.own.len() + layers) * size_of::<usize>());
            if settles {
                let (asked, new) = (items.settling(), items.own.len());
                items.settle();
                numbers.settle();
                let last = items.settled.last().map_or(0, |last| last.len());
                prop_assert_eq!(asked, if new > 0 && last > new { last * size_of::<usize>() } else { 0 });
                prop_assert_eq!((items.own.len(), numbers.own.len(), items.settled.len()), (0, 0, numbers.settled.len()));
                prop_assert!(items.settled.windows(2).all(|two| two[0].len() >= STEP * two[1].len()));
            }
        }
        kept.push((items, all.len()));
        for (items, len) in kept {
            prop_assert_eq!(items.len(), len);
            prop_assert!((0..len + 2).all(|at| items.get(at) == all.get(at).filter(|_| at < len)));
            prop_assert!(items.iter().eq(&all[..len]));
            prop_assert_eq!(&items.into_vec(), &all[..len]);
        }
        for item in 0..all.len() + 2 {
            let number = u32::try_from(item).unwrap_or(0);
            prop_assert_eq!(numbers.find(hash(item), |known| known == number), (item < all.len()).then_some(number));
        }
    }
}

/// What is missing of the control bytes in [`table_bytes`]: those of one group more.
const GROUP: usize = 32;

#[test]
fn a_table_takes_what_is_asked_for_it() {
    assert_eq!((Numbers::default().size(), Changed::<u64, [u64; 3]>::default().size()), (0, 0));
    for entries in 1..3_000 {
        let (numbers, changed) = (
            HashTable::<(u32, u32)>::with_capacity(entries).allocation_size(),
            HashMap::<u64, [u64; 3], FixedState>::with_capacity_and_hasher(entries, FixedState::default())
                .allocation_size(),
        );
        let asked = (
            <HashTable<(u32, u32)> as Layer>::bytes(entries),
            <HashMap<u64, [u64; 3], FixedState> as Layer>::bytes(entries),
        );
        assert!((numbers..=2 * numbers).contains(&(asked.0 + GROUP)), "{entries}: {asked:?} of {numbers}");
        assert!((changed..=2 * changed).contains(&(asked.1 + GROUP)), "{entries}: {asked:?} of {changed}");
    }
}

#[test]
fn growth_is_what_is_asked_for_when_there_are_more() {
    let (mut items, mut numbers) = (Items::<u64>::default(), Numbers::default());
    items.extend(0..8);
    for more in [0, 1, 3, 8, 100, 5, 1_000, 1, 1, 700] {
        let (asked, before) =
            ((items.growth(more), numbers.growth(more)), (items.own.capacity(), numbers.own.capacity()));
        items.extend(0..more as u64);
        (0..more).for_each(|number| numbers.insert(7, u32::try_from(number).unwrap()));
        let is_larger = (items.own.capacity() > before.0, numbers.own.capacity() > before.1);
        assert_eq!(asked.0, if is_larger.0 { items.own.capacity() * size_of::<u64>() } else { 0 });
        assert_eq!(asked.1 > 0, is_larger.1);
        assert!(!is_larger.1 || asked.1 + GROUP >= numbers.own.allocation_size());
    }
}

#[test]
fn what_is_not_settled_can_be_changed_and_forgotten() {
    let (mut items, mut numbers) = (Items::<u64>::default(), Numbers::default());
    items.extend([1, 2]);
    numbers.insert(5, 0);
    items.settle();
    numbers.settle();
    items.push(3);
    numbers.insert(5, 1);
    numbers.insert(5, 2);
    let own = [1, 2, 3].map(|number| items.get_own(number).copied());
    assert_eq!(own, [None, Some(3), None]);
    let found = |numbers: &Numbers| [0, 1, 2].map(|number| numbers.find(5, |known| known == number).is_some());
    for number in [0, 1] {
        numbers.remove(5, number);
    }
    assert_eq!(found(&numbers), [true, false, true]);
}

proptest! {
    #[test]
    fn what_changed_is_what_one_map_would_have(
        steps in proptest::collection::vec((proptest::collection::vec((0..50_u64, any::<u32>()), 0..40), any::<bool>(), any::<bool>()), 0..30),
    ) {
        let (mut changed, mut model, mut kept) = (Changed::<u64, u32>::default(), BTreeMap::new(), Vec::new());
        for (sets, settles, keeps) in steps {
            for (key, value) in sets {
                changed.set(key, value);
                model.insert(key, value);
            }
            if keeps {
                kept.push((changed.clone(), model.clone()));
            }
            if settles {
                let (layers, new) = (changed.settled.len(), changed.own.len());
                changed.settle();
                prop_assert!(changed.own.is_empty() && changed.settled.len() <= layers + usize::from(new > 0));
                prop_assert!(changed.settled.iter().all(|layer| !layer.is_empty()));
                prop_assert_eq!(changed.before == 0, model.is_empty());
            }
        }
        kept.push((changed, model));
        for (changed, model) in kept {
            prop_assert!((0..52).all(|key| changed.value(&key) == model.get(&key)));
        }
    }
}
