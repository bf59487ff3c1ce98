//! The table of VMMs in words, for documents and lists.

use crate::catalog;
use crate::id::Group;
use crate::list::TOLERATED;
use crate::policy::TOLERATED_ZERO;
use crate::vmms::{Cannot, Enables, Features, ListTest, Order, VmmRow};

impl VmmRow {
    /// What the VMM does, as pairs of a question and its answer; where releases differ, what each of them does.
    pub fn words(&self) -> Vec<(&'static str, String)> {
        let each: Vec<(&str, Vec<(&'static str, String)>)> =
            self.each().map(|row| (row.name, row.words_of_release())).collect();
        let answer = |(question, first): &(&'static str, String)| {
            let of =
                |words: &[(&str, String)]| words.iter().find(|(own, _)| own == question).map(|(_, said)| said.clone());
            let said: Vec<(&str, String)> = each.iter().filter_map(|(name, words)| Some((*name, of(words)?))).collect();
            if said.iter().all(|(_, other)| other == first) {
                return (*question, first.clone());
            }
            let told =
                said.iter().map(|(name, said)| format!("{name}: {}", if said.is_empty() { "nothing" } else { said }));
            (*question, told.collect::<Vec<_>>().join(" | "))
        };
        each.first().map(|(_, words)| words.iter().map(answer).collect()).unwrap_or_default()
    }

    fn words_of_release(&self) -> Vec<(&'static str, String)> {
        let rule = &self.rule;
        let carries = |groups: &[Group]| {
            let all = [
                (Group::Core, "core"),
                (Group::Sve, "SVE"),
                (Group::System, "system"),
                (Group::Demux, "CCSIDR"),
                (Group::Firmware, "firmware"),
                (Group::FirmwareBitmap, "bitmaps"),
            ];
            let names = all.iter().filter(|(group, _)| groups.contains(group)).map(|(_, name)| *name);
            let names: Vec<&str> = names.collect();
            let most = if rule.longest_list == usize::MAX {
                String::new()
            } else {
                format!(", at most {}", rule.longest_list)
            };
            if names.len() == all.len() {
                format!("every saved register{most}")
            } else {
                format!("{}{most}", names.join(", "))
            }
        };
        let list_test = match rule.list_test {
            ListTest::None => {
                "none: KVM refuses what the target lacks; what only the target has keeps its default".to_owned()
            }
            ListTest::Merge => {
                "refused when more are saved than the target lists, or by the merge walk; dropped silently above the \
                 target's greatest id; the target's own list is written whole"
                    .to_owned()
            }
            ListTest::Tolerant => format!(
                "the last register that only the stream has decides; {} and {} = 0 are tolerated; the target's own list is \
                 written whole",
                TOLERATED.map(catalog::name_of).join(", "),
                catalog::name_of(TOLERATED_ZERO)
            ),
        };
        let order = match rule.order {
            Order::Ascending => "SVE_VLS, then ascending",
            Order::ListThenCore => "the list ascending, then core",
            Order::Saved => "SVE_VLS, then as saved: firmware before ID registers",
            Order::CoreThenSaved => "SVE_VLS, core, V or SVE, then as saved: firmware before ID registers",
            Order::Groups => "core, system, CCSIDR, firmware",
        };
        let features = match rule.features {
            Features::Saved => "the set".to_owned(),
            Features::OfTarget { offered, .. } => {
                let known = crate::vcpu::FEATURES;
                let names =
                    (0_u32..).zip(known).filter(|(bit, _)| offered.iter().any(|(bits, _)| bits >> bit & 1 == 1));
                let names: Vec<&str> = names.map(|(_, name)| *name).collect();
                format!("the target, where offered: {}", names.join(", "))
            }
        };
        let enables = match rule.enables {
            Enables::Saved => "as configured".to_owned(),
            Enables::WhereOffered([]) => "nothing".to_owned(),
            Enables::WhereOffered(bits) => {
                let names = (0_u8..).zip(crate::vcpu::ENABLED);
                let names = names.filter(|(bit, _)| bits.iter().any(|(known, _)| known >> bit & 1 == 1));
                let names: Vec<&str> = names.map(|(_, name)| *name).collect();
                format!("where offered: {}", names.join(", "))
            }
        };
        let cannot: Vec<&str> = rule
            .cannot
            .iter()
            .map(|cannot| match cannot {
                Cannot::Feature(_, why) | Cannot::Enabled(_, why) | Cannot::LeaveSveOut(why) => *why,
            })
            .collect();
        vec![
            ("writes", carries(rule.carries)),
            ("order", order.to_owned()),
            ("registers that one side lacks", list_test),
            ("vGIC", if rule.vgic_first { "before the registers" } else { "after the registers" }.to_owned()),
            ("vCPU features from", features),
            ("enables", enables),
            ("cannot", cannot.join("; ")),
        ]
    }
}
