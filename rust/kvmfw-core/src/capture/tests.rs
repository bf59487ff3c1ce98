use super::*;
use crate::answers::{Answers, Code, State};
use crate::errno::Errno;
use crate::id::RegisterId;
use crate::value::Value;

/// A capture that has something in each of its sections.
const ALL: &str = r#"{
    "format": "kvmfw-capture", "version": 4,
    "host": {"name": "h", "kernel": "6.12.8", "midr": "0x410fd0c0", "revidr": "0x1", "capabilities": {"165": 48},
        "cores": [{"midr": "0x410fd0c1", "revidr": "0x0", "processors": [0, 1]}],
        "vulnerabilities": {"spec_store_bypass": "Mitigation: SSBD", "meltdown": null}},
    "registers": ["0x6030000000140001", "0x603000000013c020", "0x603000000013c021"],
    "vcpus": [
        {"name": "vm", "features": ["psci_0_2"], "vgic": true, "pmu_initialised": true, "values": ["0x1", "0x11", null],
            "same_value_refused": {"0x603000000013c020": "EINVAL"},
            "unknown": {"listed": ["0x603000000013c021"], "bits": {"0x603000000013c020": "0xf0"}}},
        {"name": "sve", "features": ["sve"], "refused": "EINVAL"}],
    "sweeps": {"three": ["0x2", "0x1", "0x7"]},
    "answers": [
        {"register": "0x6030000000140001", "asked_on": [{"vcpus": ["vm"], "states": ["fresh", "ran"]}], "value": "0x1",
            "kept": ["0x1"], "changed": {"0x3": "0x1"}, "refused": {"EPERM": ["0x9"]}, "sweep": "three", "otherwise": "EINVAL"},
        {"register": "0x603000000013c020", "asked_on": [{"vcpus": ["vm"], "states": ["fresh"]}], "value": "0x11",
            "nibbles": {"4": "!.iiiiiiiiiiiiii", "60": "................"}, "changed": {"0x1": "0x11"},
            "same": ".", "other": "i", "zero": "i", "ones": "b"}],
    "absent": [{"vcpus": ["vm"], "refused": {"ENOENT": ["0x603000000013c022"], "EINVAL": ["0x1"]}}],
    "writable_masks": [{"vcpus": ["vm"], "masks": {"0x603000000013c020": "0xff"}}],
    "first_run": [{"vcpus": ["vm"], "written": {"0x6030000000140001": "0x2"}, "changed": {"0x603000000013c020": null}},
        {"vcpus": ["vm"], "written": {}, "changed": {}}],
    "surroundings": {"IPA_BITS": {"value": "0x30"}, "VGIC_V2": {"errno": "ENOENT"},
        "PAGE_SIZE": {"value": "0x1000", "kept": ["0x1000"]}}
}"#;

const LEVEL: RegisterId = RegisterId::firmware(1);
const PFR0: RegisterId = RegisterId::system(3, 0, 0, 4, 0);
const PFR1: RegisterId = RegisterId::system(3, 0, 0, 4, 1);

#[test]
fn all_that_is_said_is_read() {
    let capture = Capture::from_json(ALL.as_bytes()).unwrap();
    assert_eq!((capture.midr, capture.cores.as_slice()), (0x410f_d0c0, &[0x410f_d0c1][..]));
    assert_eq!(capture.capabilities, Some(vec![(165, 48)]));
    assert_eq!(capture.mitigates_spec_store_bypass(), Some(true));
    assert_eq!(capture.vcpus[1].made.as_ref().err(), Some(&Errno::EINVAL));
    let made = capture.vcpus[0].made.as_ref().unwrap();
    assert_eq!(made.registers, [(LEVEL, Value::Word(1)), (PFR0, Value::Word(0x11))]);
    assert_eq!(made.pmu_initialised, Some(true));
    assert_eq!(made.same_value_refused, Some(vec![(PFR0, Errno::EINVAL)]));
    assert_eq!((made.hidden.may_list(PFR1), made.hidden.of(PFR0)), (true, 0xf0));
    assert_eq!(made.absent, [(RegisterId::new(1), Errno::EINVAL), (RegisterId::new(PFR0.raw() + 2), Errno::ENOENT)]);
    assert_eq!(made.masks, Some(vec![(PFR0, 0xff)]));
    let trial = Trial { written: vec![(LEVEL, 2)], changed: vec![(PFR0, None)] };
    assert_eq!(made.trials, Some(vec![trial, Trial { written: Vec::new(), changed: Vec::new() }]));
    let own = |id| capture.surroundings.iter().find(|(known, _)| *known == id).map(|(_, beside)| beside.own.clone());
    assert_eq!(own(RegisterId::IPA_BITS), Some(Ok(Value::Word(48))));
    assert_eq!(own(RegisterId::VGIC_V2), Some(Err(Errno::ENOENT)));
    let asked = |id| capture.surroundings.iter().any(|(known, beside)| *known == id && beside.answers.is_some());
    assert_eq!([RegisterId::PAGE_SIZE, RegisterId::IPA_BITS].map(asked), [true, false]);
}

#[test]
fn answers_are_those_that_were_said() {
    let capture = Capture::from_json(ALL.as_bytes()).unwrap();
    let made = capture.vcpus[0].made.as_ref().unwrap();
    let asked: Vec<_> = made.answers.iter().map(|(id, state, _)| (*id, *state)).collect();
    assert_eq!(asked, [(LEVEL, State::Fresh), (LEVEL, State::Ran), (PFR0, State::Fresh)]);
    let Answers::ByValue(values) = made.answers[0].2.as_ref() else { panic!("by value") };
    let word = Value::Word;
    assert_eq!(values.kept, [word(1)]);
    assert_eq!(values.changed, [(word(3), word(1))]);
    assert_eq!(values.refused, [(word(9), Errno::EPERM)]);
    assert_eq!(values.otherwise, Some(([word(1), word(2), word(7)].into(), Errno::EINVAL)));
    let Answers::ByNibble(nibbles) = made.answers[2].2.as_ref() else { panic!("by nibble") };
    assert_eq!((nibbles.value, nibbles.changed.as_slice()), (0x11, &[(1, 0x11)][..]));
    let known: Vec<usize> = (0..16).filter(|at| nibbles.nibbles[*at].is_some()).collect();
    assert_eq!(known, [1, 15]);
    assert_eq!(
        [0, 1, 2].map(|digit| nibbles.code(1, digit)),
        [Code::Changed, Code::Kept, Code::Refused(Errno::EINVAL)]
    );
    assert_eq!(
        [nibbles.same, nibbles.other, nibbles.zero, nibbles.ones].map(|code| code == Code::Kept),
        [true, false, false, false]
    );
    assert_eq!(nibbles.ones, Code::Refused(Errno::EBUSY));
}

#[test]
fn a_capture_that_contradicts_itself_says_where() {
    for (said, instead, place) in [
        (r#""0x603000000013c021"],"#, r#""0x603000000013c020"],"#, "registers"),
        (r#""name": "sve""#, r#""name": "vm""#, "vcpus[1].name"),
        (r#""values": ["0x1", "0x11", null]"#, r#""values": ["0x1"]"#, "vcpus[0].values"),
        (r#""refused": "EINVAL"}"#, r#""refused": "EINVAL", "values": []}"#, "vcpus[1]"),
        (r#""refused": "EINVAL"}"#, r#""refused": "ENONE"}"#, "vcpus[1].refused"),
        (r#""vgic": true, "#, "", "vcpus[0].vgic"),
        (r#""listed": ["0x603000000013c021"]"#, r#""listed": ["0x603000000013c020"]"#, "vcpus[0].unknown.listed"),
        (
            r#""asked_on": [{"vcpus": ["vm"], "states": ["fresh"]"#,
            r#""asked_on": [{"vcpus": ["vm"], "states": ["new"]"#,
            "answers[1].asked_on",
        ),
        (r#""states": ["fresh", "ran"]"#, r#""states": ["ran", "ran"]"#, "answers[0]"),
        (r#"{"vcpus": ["vm"], "states": ["fresh"]}"#, r#"{"vcpus": ["sve"], "states": ["fresh"]}"#, "answers[1]"),
        (r#"{"vcpus": ["vm"], "states": ["fresh"]}"#, r#"{"vcpus": ["none"], "states": ["fresh"]}"#, "answers[1]"),
        (r#""sweep": "three""#, r#""sweep": "four""#, "answers[0].sweep"),
        (r#""sweep": "three", "#, "", "answers[0]"),
        (r#""kept": ["0x1"], "changed""#, r#""kept": ["0x3"], "changed""#, "answers[0]"),
        (r#""kept": ["0x1"], "changed""#, r#""kept": ["0x9"], "changed""#, "answers[0]"),
        (r#""kept": ["0x1"], "changed""#, r#""kept": ["0x1"], "same": ".", "changed""#, "answers[0].same"),
        (r#""same": "."#, r#""kept": ["0x1"], "same": "."#, "answers[1].kept"),
        (r#""same": "."#, r#""otherwise": "EINVAL", "same": "."#, "answers[1].otherwise"),
        (r#""same": "."#, r#""sweep": "three", "same": "."#, "answers[1].sweep"),
        (r#""same": "."#, r#""refused": {"EINVAL": []}, "same": "."#, "answers[1].refused"),
        (r#""same": "."#, r#""same": ".."#, "answers[1].same"),
        (r#""zero": "i", "#, "", "answers[1].zero"),
        (r#""4": "!."#, r#""5": "!."#, "answers[1].nibbles.5"),
        (r#""4": "!."#, r#""64": "!."#, "answers[1].nibbles.64"),
        (r#""4": "!."#, r#""60": "!."#, "answers[1].nibbles.60"),
        (r#""4": "!."#, r#""4": "!"#, "answers[1].nibbles.4"),
        (r#""changed": {"0x1": "0x11"}"#, r#""changed": {"0x1": "0x11", "0x01": "0x10"}"#, "answers[1]"),
        (r#""EINVAL": ["0x1"]}"#, r#""EINVAL": ["0x603000000013c022"]}"#, "absent[0]"),
        (
            r#""masks": {"0x603000000013c020": "0xff"}"#,
            r#""masks": {"0x6080000000150000": "0xff"}"#,
            "writable_masks[0].masks.0x6080000000150000",
        ),
        (
            r#""written": {"0x6030000000140001": "0x2"}"#,
            r#""written": {"0x6030000000140001": "0x2", "0x6030000000140001": "0x3"}"#,
            "first_run[0]",
        ),
        (r#""capabilities": {"165": 48}"#, r#""capabilities": {"0165": 48}"#, "host.capabilities"),
        (r#""capabilities": {"165": 48}"#, r#""capabilities": {"165": 48, "165": 48}"#, "host.capabilities"),
        (r#""meltdown": null"#, r#""spec_store_bypass": null"#, "host.vulnerabilities"),
        (r#""revidr": "0x1""#, r#""revidr": "one""#, "host.revidr"),
        (r#""version": 4"#, r#""version": 2"#, "version"),
        (r#""value": "0x30""#, r#""value": "0x1f""#, "surroundings.IPA_BITS.value"),
        (r#""value": "0x30""#, r#""value": "0x41""#, "surroundings.IPA_BITS.value"),
        (r#""value": "0x1000""#, r#""value": "0x2000""#, "surroundings.PAGE_SIZE.value"),
        (r#""VGIC_V2": {"errno": "ENOENT"}"#, r#""VGIC_V2": {"value": "0x0"}"#, "surroundings.VGIC_V2.value"),
        (
            r#""VGIC_V2": {"errno": "ENOENT"}"#,
            r#""VGIC_V2": {"errno": "ENOENT", "kept": ["0x1"]}"#,
            "surroundings.VGIC_V2",
        ),
        (
            r#""VGIC_V2": {"errno": "ENOENT"}"#,
            r#""VGIC_V2": {"errno": "ENOENT", "value": "0x1"}"#,
            "surroundings.VGIC_V2",
        ),
        (r#""VGIC_V2": {"errno": "ENOENT"}"#, r#""CNTFRQ_EL0": {"errno": "ENOENT"}"#, "surroundings.CNTFRQ_EL0"),
        (r#""VGIC_V2": {"errno": "ENOENT"}"#, r#""MIDR_EL1": {"errno": "ENOENT"}"#, "surroundings"),
        (r#""VGIC_V2": {"errno": "ENOENT"}"#, r#""IPA_BITS": {"value": "0x30"}"#, "surroundings.IPA_BITS"),
    ] {
        assert!(ALL.contains(said), "{said}");
        let found = Capture::from_json(ALL.replacen(said, instead, 1).as_bytes()).map(|_| ());
        assert_eq!(found.map_err(|error| error.place), Err(place.to_owned()), "{instead}");
    }
}
