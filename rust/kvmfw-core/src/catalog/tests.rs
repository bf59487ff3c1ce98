use super::*;

#[test]
fn the_catalogue_names_every_id_and_name_once() {
    assert!(CATALOG.len() > 60);
    for (at, register) in CATALOG.iter().enumerate() {
        for other in &CATALOG[..at] {
            assert_ne!(register.id, other.id, "{}", register.name);
            assert_ne!(register.name, other.name);
        }
        assert!(!register.meaning.is_empty());
        assert_eq!(find(register.name), Some(register.id));
        assert_eq!(name_of(register.id), register.name);
    }
}

#[test]
fn kinds_follow_the_encoding() {
    assert_eq!(kind_of(system(0, 1, 0, 0)), Kind::Plain);
    assert_eq!(kind_of(system(0, 0, 0, 5)), Kind::Plain);
    assert_eq!(kind_of(system(0, 0, 4, 3)), Kind::Identification);
    assert_eq!(kind_of(system(4, 1, 1, 0)), Kind::Masked);
    assert_eq!(kind_of(system(4, 12, 0, 0)), Kind::Plain);
    assert_eq!(kind_of(ICH_HCR_EL2), Kind::Masked);
    assert_eq!(kind_of(system(4, 12, 13, 7)), Kind::Plain, "ICH_LR15_EL2");
    assert_eq!([system(4, 12, 11, 1), system(4, 0, 0, 1), system(6, 4, 1, 1)].map(kind_of), [Kind::Unlisted; 3]);
    assert_eq!([0, 30].map(|n| kind_of(system(3, 14, 8 + n / 8, n % 8))), [Kind::PmuCounter; 2]);
    assert_eq!(kind_of(system(3, 14, 11, 7)), Kind::Plain);
    assert_eq!(name_of(system(3, 14, 11, 6)), "PMEVCNTR30_EL0");
    assert_eq!(kind_of(RegisterId::ccsidr(13)), Kind::CacheSize);
    assert_eq!(kind_of(RegisterId::ccsidr(14)), Kind::Unlisted);
    assert_eq!(kind_of(RegisterId::PC), Kind::General);
    assert_eq!(kind_of(RegisterId::PSTATE), Kind::ProcessorState);
    assert_eq!(kind_of(RegisterId::new(0x6030_0000_0010_0044)), Kind::Plain, "SP_EL1");
    assert_eq!(kind_of(RegisterId::new(0x6080_0000_0015_0000)), Kind::SveState);
    assert_eq!(kind_of(RegisterId::firmware(4)), Kind::Unlisted);
}

#[test]
fn what_there_are_many_of_is_called_as_the_architecture_calls_it() {
    for (raw, name) in [
        (0x6030_0000_0013_8064, "DBGBVR12_EL1"),
        (0x6030_0000_0013_807f, "DBGWCR15_EL1"),
        (0x6030_0000_0013_c108, "APIAKEYLO_EL1"),
        (0x6030_0000_0013_c113, "APDBKEYHI_EL1"),
        (0x6030_0000_0013_c119, "APGAKEYHI_EL1"),
        (0x6030_0000_0013_c11a, "S3_0_C2_C3_2"),
        (0x6030_0000_0013_df7e, "PMEVTYPER30_EL0"),
        (0x6030_0000_0013_df7f, "PMCCFILTR_EL0"),
        (0x6030_0000_0010_0044, "SP_EL1"),
        (0x6030_0000_0010_0050, "SPSR_FIQ"),
        (0x6040_0000_0010_0054, "V0"),
        (0x6040_0000_0010_00d0, "V31"),
        (0x6020_0000_0010_00d5, "FPCR"),
        (0x6080_0000_0015_03e0, "Z31"),
        (0x6080_0000_0015_0001, "SVE register 0x1"),
        (0x6050_0000_0015_05e0, "P15"),
        (0x6050_0000_0015_0600, "FFR"),
    ] {
        assert_eq!(name_of(RegisterId::new(raw)), name);
    }
}

#[test]
fn a_name_reads_back_as_its_register() {
    for id in every_number() {
        let name = name_of(id);
        assert_eq!(find(&name), Some(id), "{name}");
        assert_eq!(find(&name.to_ascii_uppercase()), Some(id), "{name}");
    }
    assert_eq!(find("PMEVCNTR30_EL0"), Some(system(3, 14, 11, 6)));
    assert_eq!(find("PMEVCNTR31_EL0"), None);
    for (text, id) in [
        ("S3_0_C0_C4_0", Some(ID_AA64PFR0)),
        ("s3_3_c9_c12_0", Some(PMCR)),
        ("S3_0_C0_C16_0", None),
        ("S3_0_C0_C+4_0", None),
        ("S3_0_C0_C4_0_0", None),
        ("S3_0_C0_4_0", None),
        ("S4_0_C0_C4_0", None),
    ] {
        assert_eq!(find(text), id, "{text}");
    }
    assert_eq!(find("0x+6030000000140000"), None);
}
