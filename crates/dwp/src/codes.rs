//! What each code means to whoever has to decide, and what to do about it.
//! A code may carry a value behind a colon; the words belong to what stands before it.

pub struct Advice {
    pub code: &'static str,
    pub meaning: &'static str,
    /// Empty: nothing.
    pub action: &'static str,
}

/// Who could not be carried, or differs for a reason.
pub const PARKED: &[Advice] = &[
    Advice {
        code: "value_taken_at_mgpass",
        meaning: "a user of mgPass's own holds this person's email, phone or social account",
        action: "Find out whether both are the same person (`dwp explain USER` names the holder). Free the value on one side, then `dwp replay --reason value_taken_at_mgpass`. Nothing is ever taken from a user of mgPass's own.",
    },
    Advice {
        code: "value_taken_in_logto",
        meaning: "the email, phone or social account still belongs to another user of Logto's at mgPass, who is parked or part of a long exchange of values",
        action: "Mend the other user (`dwp explain USER` names them): who waits for them follows by itself. After a long exchange `dwp replay --reason value_taken_in_logto`.",
    },
    Advice {
        code: "id_taken_at_mgpass",
        meaning: "mgPass has a user of this id whom the mirror did not make",
        action: "Find out who made that row. The same person (an earlier import): adopt the row as docs/troubleshooting.md says, then replay. Somebody else: they cannot be carried under this id.",
    },
    Advice {
        code: "deleted_at_mgpass",
        meaning: "mgPass deleted this user, Logto still has them",
        action: "Decide whose word counts. Delete the user at Logto through the proxy, or leave them parked: they are read from Logto.",
    },
    Advice {
        code: "edited_at_mgpass",
        meaning: "somebody changed this user at mgPass on purpose; that is kept, and they are read from Logto",
        action: "`dwp explain USER` names the fields and who did it. If mgPass is right, make the same change at Logto through the proxy; if Logto is, `dwp overrule USER`.",
    },
    Advice {
        code: "deletion_unconfirmed",
        meaning: "Logto does not know this user any more, and nothing else says that they were deleted",
        action: "Look at Logto whether it was meant, then `dwp confirm-deletion USER`. Deletion at mgPass is final, so one witness is not enough.",
    },
    Advice {
        code: "deletion_brake",
        meaning: "more deletions within an hour than DELETIONS_PER_HOUR allows",
        action: "Find out why so many are deleted. If it is meant, raise DELETIONS_PER_HOUR or wait an hour, then `dwp replay --reason deletion_brake`.",
    },
    Advice {
        code: "too_many_failures",
        meaning: "mgPass or its database refused this user six times",
        action: "Read `mirror.failed` in the log for the code, mend the cause, then `dwp replay --reason too_many_failures`.",
    },
    Advice {
        code: "not_shown_by_mgpass",
        meaning: "mgPass's API goes on showing another value than its database was given",
        action: "`dwp explain USER` names the fields. mgPass may normalise them (an email in lower case): change the value at Logto to that form, then replay.",
    },
    Advice {
        code: "too_large",
        meaning: "this person's data is more than mgPass's database takes as one row (2,000,000 bytes), or more than the proxy reads of one person (2 MiB), or of all who exchange a value with them",
        action: "Make their custom data smaller at Logto; the mirror follows by itself. `dwp parked --reason too_large` names them, or their place in Logto's listing, newest first. Until then they are read from Logto.",
    },
    Advice {
        code: "reserved_at_logto",
        meaning: "this user was created at mgPass after the cutover, and Logto has their id and nothing else",
        action: "Nothing of theirs is overwritten. Carry them over to Logto by hand (PATCH /api/users/USER with their data), then `dwp replay --reason reserved_at_logto`.",
    },
    Advice {
        code: "reserved",
        meaning: "Logto holds an id for a user whose creation at mgPass was never acknowledged",
        action: "Nothing to do: the proxy deletes it at Logto within the hour. If it stays, look for `translated.delayed` with the step `orphan` in the log.",
    },
    Advice {
        code: "unreadable",
        meaning: "Logto lists a row that is no user as its API describes one",
        action: "Look at that user in Logto's console (`dwp parked --reason unreadable` names them, or their place in the listing) and mend what is odd about them.",
    },
    Advice {
        code: "earned_at_mgpass",
        meaning: "this person's ledger at mgPass holds entries that did not come from the import",
        action: "Nothing of theirs was overwritten. Book the difference by hand at mgPass, or decide person by person (docs/troubleshooting.md, Points).",
    },
    Advice {
        code: "changed_at_mgpass",
        meaning: "mgPass did not keep the balance that was written (a trigger of its own)",
        action: "Ask whoever runs mgPass's database, then `dwp import points` again.",
    },
    Advice {
        code: "unknown_user",
        meaning: "the source has points for somebody whom mgPass does not know, or a ledger without a record",
        action: "`dwp parked --kind points --reason unknown_user` says which. Not at mgPass: import the user first, then the points again. No record: mend the source. Deleted at Logto: the points end with them.",
    },
    Advice {
        code: "not_mirrored",
        meaning: "mgPass has a user of this id whom the mirror did not make",
        action: "Import the users first, then the points again. Who stays here is parked there as `id_taken_at_mgpass`: decide that first.",
    },
    Advice {
        code: "sum_out_of_range",
        meaning: "this person's entries add up to more than can be held exactly (2^53)",
        action: "Find the entry that cannot be right, at the source or in mgPass's ledger, and mend it; then `dwp import points` again.",
    },
    Advice {
        code: "user_deleted",
        meaning: "the source has points for somebody who is deleted at mgPass",
        action: "",
    },
    Advice {
        code: "unreadable_in_source",
        meaning: "a record or an entry at the source has a value that is not what its column is for",
        action: "Mend the source's row, then `dwp import points` again.",
    },
    Advice {
        code: "entry_too_large",
        meaning: "one entry is larger than mgPass's database takes in one value (2,000,000 bytes)",
        action: "Shorten that entry's metadata at the source, then `dwp import points` again.",
    },
    Advice {
        code: "unknown_tier",
        meaning: "the stored tier is none of mgPass's",
        action: "Make the tier at mgPass, or correct the record at the source, then `dwp import points` again.",
    },
    Advice {
        code: "refused_by_mgpass",
        meaning: "mgPass's database refused these rows",
        action: "Compare its rewards tables with the assumed ones (docs/assumptions.md), then `dwp import points` again.",
    },
    Advice {
        code: "entry_held_elsewhere",
        meaning: "an entry of theirs is at mgPass with another user: it moved at the source",
        action: "The balance is right by the adjustment; decide whose the entry is.",
    },
];

/// What did not come along although its person did.
pub const NOTES: &[Advice] = &[
    Advice {
        code: "unknown_provider",
        meaning: "a social account of a provider that mgPass is not told of",
        action: "If mgPass offers the provider, name it in SOCIAL_PROVIDERS, deploy, import again. If not, these people need another way in before the cutover.",
    },
    Advice {
        code: "phone_not_e164",
        meaning: "a phone number that is not in international form, so that mgPass cannot hold it",
        action: "Correct the number at Logto (digits with country code); the mirror follows by itself. Until then mgPass has no phone for them.",
    },
    Advice {
        code: "mfa_not_carried",
        meaning: "a second factor at Logto that mgPass cannot take over",
        action: "Tell these people to set it up again at mgPass before the cutover (`dwp noted mfa_not_carried:KIND` lists them). Until they do, a first factor alone lets them in.",
    },
    Advice {
        code: "sso_not_carried",
        meaning: "a sign-in by their company's identity provider, which mgPass has no documented import for",
        action: "Set up the company's connection at mgPass and agree with mgPass how these people are linked (`dwp noted sso_not_carried:CONNECTOR` lists them).",
    },
    Advice {
        code: "factors_unknown",
        meaning: "Logto gave no readable answer about this person's second factors and company sign-in",
        action: "Look at them in Logto's console (`dwp noted factors_unknown` lists them), mend what is odd, and import again.",
    },
    Advice {
        code: "username_not_carried",
        meaning: "mgPass has no user name, and these people's display name is another",
        action: "Who signs in by user name needs to know their email or another way in.",
    },
    Advice {
        code: "username_as_name",
        meaning: "there was no name, so mgPass shows the user name as one",
        action: "",
    },
    Advice {
        code: "tier_mismatch",
        meaning: "the stored tier is not the one that the lifetime points and today's thresholds give",
        action: "Nothing was changed: tiers never go down. Decide whether the stored tier stands; the code names stored and expected tier.",
    },
    Advice {
        code: "tier_missing",
        meaning: "the source has no tier for them; the one that their lifetime points give was written",
        action: "",
    },
    Advice {
        code: "tier_kept",
        meaning: "mgPass already holds a higher tier than the source; it was kept",
        action: "",
    },
    Advice {
        code: "adjusted",
        meaning: "ledger and stored total differed at the source (expired or voided entries); one entry, labelled `migration:USER`, makes them agree",
        action: "",
    },
    Advice {
        code: "not_posted",
        meaning: "some of their entries are expired or voided; they are kept as history and do not count",
        action: "",
    },
    Advice {
        code: "metadata_wrapped",
        meaning: "an entry's metadata was no JSON object; its text is kept inside one",
        action: "",
    },
    Advice {
        code: "gone_in_source",
        meaning: "entries of an earlier import are not at the source any more; they stay at mgPass, and the adjustment makes up for them",
        action: "Find out why the source lost them.",
    },
    Advice {
        code: "not_at_mgpass",
        meaning: "mgPass does not have this user",
        action: "",
    },
    Advice {
        code: "no_source_record",
        meaning: "the source has entries, and no record of a balance, for this user",
        action: "",
    },
    Advice {
        code: "no_user_id",
        meaning: "entries at the source name no user",
        action: "",
    },
];

const ELSEWHERE: Advice = Advice {
    code: "",
    meaning: "this command has no words for this code",
    action: "See docs/troubleshooting.md, and `dwp explain USER` for one of them.",
};

/// By what stands before the colon.
pub fn advice(list: &'static [Advice], code: &str) -> &'static Advice {
    let head = code.split(':').next().unwrap_or(code);
    list.iter()
        .find(|advice| advice.code == head)
        .unwrap_or(&ELSEWHERE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_behind_the_colon_does_not_matter() {
        assert_eq!(
            advice(NOTES, "unknown_provider:wechat").code,
            "unknown_provider"
        );
        assert_eq!(
            advice(NOTES, "tier_mismatch:gold>silver").code,
            "tier_mismatch"
        );
        assert_eq!(advice(PARKED, "of_tomorrow").code, "");
    }

    #[test]
    fn every_reason_of_the_mirror_has_words() {
        use dual_write_proxy::mirror::mapping::Obstacle;
        use dual_write_proxy::mirror::reconcile::Park;
        for park in [
            Park::DeletionUnconfirmed,
            Park::DeletionBrake,
            Park::DeletedAtMgpass,
            Park::EditedAtMgpass,
            Park::TooLarge,
            Park::IdTakenAtMgpass,
            Park::ValueTakenAtMgpass,
            Park::ValueTakenInLogto,
            Park::TooManyFailures,
            Park::NotShownByMgpass,
            Park::TooLarge,
        ] {
            assert_eq!(advice(PARKED, park.code()).code, park.code());
        }
        for obstacle in [
            Obstacle::PhoneNotE164,
            Obstacle::UnknownProvider("x".to_owned()),
        ] {
            assert_ne!(advice(NOTES, &obstacle.code()).code, "");
        }
    }

    #[test]
    fn no_code_is_explained_twice() {
        for list in [PARKED, NOTES] {
            for (index, one) in list.iter().enumerate() {
                assert!(
                    !list
                        .iter()
                        .skip(index + 1)
                        .any(|other| other.code == one.code)
                );
            }
        }
    }
}
