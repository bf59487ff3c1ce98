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
fn a_name_reads_back_as_its_register() {
    for id in every_number() {
        let name = name_of(id);
        assert_eq!(find(&name), Some(id), "{name}");
        assert_eq!(find(&name.to_ascii_uppercase()), Some(id), "{name}");
    }
    assert_eq!(find("PMEVCNTR30_EL0"), Some(system(3, 14, 11, 6)));
    assert_eq!(find("PMEVCNTR31_EL0"), None);
    assert_eq!(find("0x+6030000000140000"), None);
}
