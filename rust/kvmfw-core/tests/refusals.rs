//! What the core refuses of a caller: in a sentence, with the row that is wrong, and nothing happens.

#![expect(clippy::expect_used, reason = "a law that cannot be set up has failed")]

use kvmfw_core::audit::Watch;
use kvmfw_core::{
    Fleet, Host, IntakeError, Left, Named, Names, Question, RegisterId, RegisterSet, RowError, Runs, Taken, Texts,
    Value, VcpuConfig,
};

const LEVEL: u64 = 0x6030_0000_0014_0001;
const OTHER: u64 = 0x6030_0000_0014_0002;
const TAKEN: Taken = Taken { change: true, unknown: false };

fn config() -> VcpuConfig {
    VcpuConfig { features: 1 << 2, vgic: true, ..VcpuConfig::default() }
}

fn host() -> Host {
    let text = format!(
        r#"{{"format":"kvmfw-capture","version":1,"host":{{"name":"h","kernel":"6.12.8","midr":"0x1"}},
        "registers":["{LEVEL:#x}"],"vcpus":[{{"name":"vm","features":["psci_0_2"],"vgic":true,"values":["0x1"]}}],
        "answers":[]}}"#
    );
    Host::from_json(text.as_bytes()).expect("a capture")
}

fn refused(row: usize, problem: &str) -> RowError {
    RowError { row, problem: problem.to_owned() }
}

/// Two VMs of one register each.
fn two() -> (Vec<i64>, Vec<u64>, Vec<u64>, Vec<VcpuConfig>) {
    (vec![0, 1, 2], vec![LEVEL, LEVEL], vec![1, 2], vec![config()])
}

fn runs((starts, register, value, configs): &(Vec<i64>, Vec<u64>, Vec<u64>, Vec<VcpuConfig>)) -> Runs<'_> {
    Runs { starts, register, value, configs, config_of: &[], vmm_of: &[] }
}

#[test]
fn runs_that_do_not_fit_together() {
    let two = two();
    let good = runs(&two);
    let order = "the start of a VM's rows is out of order or out of range";
    let short = |starts| Runs { starts, ..good };
    let wrong = [
        (Runs { value: &[1], ..good }, refused(1, "the columns differ in length")),
        (short(&[0, 2, 1]), refused(2, order)),
        (short(&[-1, 1, 2]), refused(0, order)),
        (short(&[0, 1, 3]), refused(2, order)),
        (Runs { vmm_of: &[0], ..good }, refused(0, "`vmm_of` needs one entry for each VM")),
        (Runs { configs: &[], ..good }, refused(0, "there is no vCPU configuration")),
        (Runs { config_of: &[0], ..good }, refused(0, "`config_of` needs one entry for each VM")),
        (Runs { config_of: &[0, 1], ..good }, refused(1, "a VM names a vCPU configuration that there is not")),
    ];
    let fleet = Fleet::new(Question::default(), 1);
    for (runs, error) in wrong {
        assert_eq!(runs.check(), Err(error.clone()));
        assert_eq!(fleet.change().add_runs(runs, Named::default()), Err(IntakeError::Row(error)));
    }
    assert_eq!(good.check(), Ok(()));
    assert!(!good.is_empty() && short(&[]).is_empty() && short(&[]).check().is_ok());
    assert_eq!(fleet.snapshot().vm_count(), 0);
}

#[test]
fn names_and_homes_that_do_not_fit_to_their_vms() {
    let two = two();
    let texts = |starts| Texts { starts, text: "aäb" };
    let names = |starts| Some(Names::Texts(texts(starts)));
    let plain = Named::default();
    let wrong = [
        (Named { like: Some(&[0, 2]), ..plain }, refused(1, "a VM is like a run that there is not")),
        (Named { names: names(&[0, 1]), ..plain }, refused(2, "`names` needs one entry for each VM")),
        (Named { names: Some(Names::Numbers(&[7])), ..plain }, refused(2, "`names` needs one entry for each VM")),
        (Named { home_of: &[-1], ..plain }, refused(2, "`home_of` needs one entry for each VM")),
        (
            Named { homes: Some(texts(&[0, 1])), home_of: &[0, 1], ..plain },
            refused(1, "a VM names a home that there is not"),
        ),
    ];
    let fleet = Fleet::new(Question::default(), 1);
    for (named, error) in wrong {
        assert_eq!(fleet.change().add_runs(runs(&two), named), Err(IntakeError::Row(error)));
    }
    // Where a letter of several bytes is cut there is no text.
    for cut in [Named { names: names(&[0, 2, 4]), ..plain }, Named { homes: Some(texts(&[0, 2])), ..plain }] {
        assert!(matches!(fleet.change().add_runs(runs(&two), cut), Err(IntakeError::Row(_))));
    }
    assert!(texts(&[]).is_empty() && Names::Numbers(&[]).is_empty() && !Names::Numbers(&[-7]).is_empty());
    let mut change = fleet.change();
    let numbers = Named { names: Some(Names::Numbers(&[-70, 0])), ..plain };
    assert_eq!(change.add_runs(runs(&two), numbers), Ok(Vec::new()));
    assert_eq!(change.commit().vm_names(0..9), (vec![0, 3, 4], "-700".to_owned()));
}

#[test]
fn questions_about_rows_that_there_are_not_and_answers_that_do_not_fit() {
    let fleet = Fleet::new(Question::default(), 1);
    let two = two();
    let mut change = fleet.change();
    change.add_runs(runs(&two), Named::default()).expect("two VMs");
    change.add_hosts(&[host()], &[0, 0, 0], None).expect("three hosts");
    let now = change.commit();
    let mut bits = [0; 2];
    assert_eq!(now.matrix(0..3, TAKEN, &mut bits), Err(refused(3, "VM rows 0..3 are out of range; there are 2 VMs")));
    #[expect(clippy::reversed_empty_ranges, reason = "what is to be refused")]
    let back = now.matrix(2..1, TAKEN, &mut bits);
    assert_eq!(back, Err(refused(1, "VM rows 2..1 are out of range; there are 2 VMs")));
    assert_eq!(now.matrix(1..2, TAKEN, &mut bits), Err(refused(1, "the output has 2 bytes, expected 1")));
    assert_eq!(now.matrix(0..2, TAKEN, &mut bits), Ok(()));

    let homes = |home: &[i64]| now.audit(home, TAKEN).map(|counts| counts.targets.len());
    assert_eq!(homes(&[0]), Err(refused(1, "`home` has 1 entries, expected one for each of 2 VMs")));
    assert_eq!(homes(&[-1, 3]), Err(refused(1, "home 3 is out of range; there are 3 hosts")));
    assert_eq!(homes(&[-1, 2]), Ok(2));

    let watch = Watch::default();
    let takers = |hosts: &[u64]| now.all_takers(hosts, TAKEN, &watch).map(|_| ()).map_err(|error| error.to_string());
    assert_eq!(takers(&[1, 2]), Err("`hosts` has 2 entries, expected 1".to_owned()));
    assert_eq!(takers(&[3]), Ok(()));

    let names = now.vm_names([1, 7, 0, usize::MAX].into_iter());
    assert_eq!(names, (vec![0, 0, 0], String::new()), "rows that there are not have no name");
}

#[test]
fn fleets_that_go_on_with_handles_that_are_not_of_their_members() {
    let two = two();
    let none = Left { handles: &[], arrivals: 0 };
    let wrong = [
        (Left { handles: &[1], arrivals: 5 }, refused(2, "there are 1 handles for 2 VMs")),
        (Left { handles: &[1, 2], arrivals: u64::MAX }, refused(2, "18446744073709551615 VMs have never been there")),
        (Left { handles: &[2, 2], arrivals: 5 }, refused(1, "the handles of VMs do not ascend")),
        (Left { handles: &[1, 5], arrivals: 5 }, refused(1, "handle 5 of a VM is that of one who is yet to come")),
    ];
    let fleet = Fleet::new(Question::default(), 1);
    let filled = || {
        let mut change = fleet.change();
        change.add_runs(runs(&two), Named::default()).expect("two VMs");
        change
    };
    for (vms, error) in wrong {
        assert_eq!(filled().go_on(3, vms, none), Err(error));
    }
    let good = Left { handles: &[1, 4], arrivals: 5 };
    let hosts = Left { handles: &[0], arrivals: 1 };
    assert_eq!(filled().go_on(3, good, hosts), Err(refused(0, "there are 1 handles for 0 hosts")));
    let never = 1 << 63;
    assert_eq!(filled().go_on(never, good, none), Err(refused(0, &format!("no fleet was changed {never} times"))));
    let mut change = filled();
    assert_eq!(change.go_on(3, good, none), Ok(()));
    let now = change.commit();
    assert_eq!((now.vm_handles().iter().map(|vm| vm.0).collect::<Vec<_>>(), now.arrivals()), (vec![1, 4], (5, 0)));
    let again = refused(0, "the fleet has been changed before: its handles are given out");
    assert_eq!(fleet.change().go_on(3, good, none), Err(again));
}

#[test]
fn values_that_are_none_or_too_wide() {
    let (word, half) = (RegisterId::new(LEVEL), RegisterId::new(0x6020_0000_0011_0000));
    let parse = |text: &str, register| Value::parse(text, register).map(|value| value.to_string());
    assert_eq!(parse("12", word), Err("`12` is not a hexadecimal number with 0x in front".to_owned()));
    for text in ["0x", "0x1_0", "0xg", "0x+1"] {
        assert_eq!(parse(text, word), Err(format!("`{text}` is not a hexadecimal number")));
    }
    assert_eq!(parse("0X00aBcD", word), Ok("0xabcd".to_owned()));
    assert_eq!(parse("0x0", word), Ok("0x0".to_owned()));
    let wide = |text: &str| Err(format!("`{text}` is wider than register {half}, which has 4 bytes"));
    assert_eq!(parse("0x100000000", half), wide("0x100000000"));
    assert_eq!(parse("0x0ffffffff", half), Ok("0xffffffff".to_owned()));
    assert_eq!(Value::from_word(1 << 32, half).map(|value| value.to_string()), wide("0x100000000"));
    let bytes = |bytes: &[u8]| Value::from_bytes(bytes, half).map(|value| value.to_string());
    assert_eq!(bytes(&[1, 2]), Err(format!("2 bytes given for register {half}, which has 4 bytes")));
    assert_eq!(bytes(&[1, 2, 0, 0]), Ok("0x201".to_owned()));
}

#[test]
fn register_sets_with_a_register_twice() {
    let registers = |ids: &[u64]| ids.iter().map(|id| (RegisterId::new(*id), Value::Word(1))).collect::<Vec<_>>();
    assert!(RegisterSet::new("vm", None, config(), registers(&[LEVEL, OTHER])).is_ok());
    assert!(RegisterSet::new("vm", None, config(), registers(&[LEVEL, OTHER, LEVEL])).is_err());
}
