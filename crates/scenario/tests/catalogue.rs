//! Every file of the catalogue reads and plans.

use scenario::{Overrides, catalogue, file};

#[test]
fn every_file_of_the_catalogue_reads_and_plans() {
    assert!(!catalogue::all().is_empty());
    for entry in catalogue::all() {
        let file = match file::parse(entry.text, &entry.origin()) {
            Ok(file) => file,
            Err(found) => panic!("{}", found.iter().map(|d| d.render(false)).collect::<String>()),
        };
        let plan = scenario::plan(&file, &Overrides::default());
        assert!(plan.is_ok(), "{}", plan.unwrap_err().iter().map(|d| d.render(false)).collect::<String>());
    }
}

#[test]
fn the_last_part_of_a_name_is_unique_and_enough() {
    let mut short: Vec<&str> = catalogue::all().iter().map(catalogue::Entry::short).collect();
    short.sort_unstable();
    let before = short.len();
    short.dedup();
    assert_eq!(before, short.len());
    assert_eq!(catalogue::find("arp-resolution").unwrap().name, "link/arp-resolution");
    assert_eq!(catalogue::find("link/arp-resolution").unwrap().name, "link/arp-resolution");
    let typo = catalogue::find("arp-resolutoin").unwrap_err();
    assert_eq!(typo.to_string(), "no scenario is named `arp-resolutoin`; did you mean `arp-resolution`?");
}
