//! Refuses passwords that are easy to guess.
//!
//! NIST SP 800-63B-4, section 3.1.1.2 requires a comparison with common and expected passwords, a reason for each refusal,
//! and guidance, and forbids rules of composition. zxcvbn estimates the guesses of an attacker who knows common passwords,
//! words, names, keyboards, dates, and the words of this user. It reads the first 100 characters.

use zxcvbn::{
    Score,
    feedback::{Suggestion, Warning},
    zxcvbn,
};

/// zxcvbn's documentation: below 3, a password does not resist an offline attack on a slow hash (10^8 guesses).
const LEAST: Score = Score::Three;
/// The name of the service, which NIST lists among the expected words.
const SERVICE: &str = "trellis";
/// The most letters and digits that a password of own words has besides them, such as a year.
const MOST_BESIDES: usize = 4;
/// The shortest part of an address or name that counts as a word of the user.
const SHORTEST_WORD: usize = 3;

/// The words that a user's password must not be made of: the address, the handle, and the name, with their parts.
#[derive(Debug, Default)]
pub(crate) struct OwnWords(Vec<String>);

impl OwnWords {
    /// Collects the words of these texts. Empty texts are ignored.
    pub(crate) fn new(texts: &[&str]) -> Self {
        let mut words = vec![SERVICE.to_owned()];
        for text in texts {
            let parts = text.split(|c: char| !c.is_alphanumeric()).filter(|part| part.chars().count() >= SHORTEST_WORD);
            words.extend([*text].into_iter().chain(parts).map(str::to_lowercase).filter(|word| !word.is_empty()));
        }
        words.dedup();
        Self(words)
    }

    /// Whether the password consists of these words. zxcvbn takes three words for hard to guess, whatever they are.
    fn make_up(&self, password: &str) -> bool {
        let mut rest = password.to_lowercase();
        let all = rest.len();
        let mut words: Vec<_> = self.0.iter().collect();
        words.sort_by_key(|word| std::cmp::Reverse(word.len()));
        for word in words {
            rest = rest.replace(word.as_str(), " ");
        }
        rest.len() < all && rest.chars().filter(|c| c.is_alphanumeric()).count() <= MOST_BESIDES
    }
}

/// Why the password is easy to guess and what to do, for the user. `None`: it is hard to guess.
pub(super) fn weakness(password: &str, own: &OwnWords) -> Option<String> {
    let words: Vec<&str> = own.0.iter().map(String::as_str).collect();
    if own.make_up(password) {
        return Some(refusal("it consists of words about you or about this service", MORE_WORDS));
    }
    let found = zxcvbn(password, &words);
    if found.score() >= LEAST {
        return None;
    }
    let feedback = found.feedback();
    let why = feedback.and_then(|feedback| feedback.warning()).map_or("it has too few different words", warning);
    let what = feedback.and_then(|feedback| feedback.suggestions().last()).map_or(MORE_WORDS, |last| suggestion(*last));
    Some(refusal(why, what))
}

fn refusal(why: &str, what: &str) -> String {
    format!("is too easy to guess: {why}; {what}")
}

const MORE_WORDS: &str = "use four or more words that have nothing to do with each other";

fn warning(warning: Warning) -> &'static str {
    match warning {
        Warning::StraightRowsOfKeysAreEasyToGuess | Warning::ShortKeyboardPatternsAreEasyToGuess => {
            "neighboring keys are easy to guess"
        }
        Warning::RepeatsLikeAaaAreEasyToGuess => "repeated characters add little",
        Warning::RepeatsLikeAbcAbcAreOnlySlightlyHarderToGuess => "repeated text adds little",
        Warning::ThisIsATop10Password | Warning::ThisIsATop100Password | Warning::ThisIsACommonPassword => {
            "it is a common password"
        }
        Warning::ThisIsSimilarToACommonlyUsedPassword => "it resembles a common password",
        Warning::SequencesLikeAbcAreEasyToGuess => "sequences such as abc or 6543 are easy to guess",
        Warning::RecentYearsAreEasyToGuess => "years are easy to guess",
        Warning::AWordByItselfIsEasyToGuess => "a single word is easy to guess",
        Warning::DatesAreOftenEasyToGuess => "dates are easy to guess",
        Warning::NamesAndSurnamesByThemselvesAreEasyToGuess | Warning::CommonNamesAndSurnamesAreEasyToGuess => {
            "names are easy to guess"
        }
    }
}

fn suggestion(suggestion: Suggestion) -> &'static str {
    match suggestion {
        Suggestion::UseAFewWordsAvoidCommonPhrases
        | Suggestion::NoNeedForSymbolsDigitsOrUppercaseLetters
        | Suggestion::UseALongerKeyboardPatternWithMoreTurns => MORE_WORDS,
        Suggestion::AddAnotherWordOrTwo => "add another word or two that are not common",
        Suggestion::CapitalizationDoesntHelpVeryMuch | Suggestion::AllUppercaseIsAlmostAsEasyToGuessAsAllLowercase => {
            "add words instead of capital letters"
        }
        Suggestion::ReversedWordsArentMuchHarderToGuess => "add words instead of reversing them",
        Suggestion::PredictableSubstitutionsDontHelpVeryMuch => "add words instead of replacing letters by signs",
        Suggestion::AvoidRepeatedWordsAndCharacters => "use different words",
        Suggestion::AvoidSequences => "use words instead of sequences",
        Suggestion::AvoidRecentYears
        | Suggestion::AvoidYearsThatAreAssociatedWithYou
        | Suggestion::AvoidDatesAndYearsThatAreAssociatedWithYou => "use words instead of dates and years",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ada() -> OwnWords {
        OwnWords::new(&["ada.lovelace@example.org", "countess_ada", "Augusta Ada King"])
    }

    #[test]
    fn easy_password_is_refused_with_its_reason() {
        for (password, why) in [
            ("password", "it is a common password"),
            ("aaaaaaaaaaaaaaaaaaaa", "repeated characters"),
            ("passwordpassword", "repeated text"),
            ("qwertyuiopasdfghjkl", "it resembles a common password"),
            ("abcdefghijklmnopqr", "sequences"),
        ] {
            let text = weakness(password, &ada()).unwrap_or_else(|| panic!("{password} is easy to guess"));
            assert!(text.starts_with("is too easy to guess: ") && text.contains(why), "{password}: {text}");
            assert!(password == "password" || !text.contains(password), "the reason does not repeat the password");
        }
    }

    #[test]
    fn words_of_the_user_do_not_count() {
        for own in
            ["ada.lovelace@example.org", "countess_ada trellis", "Lovelace, Countess 1815", "ada KING augusta Ada"]
        {
            let text = weakness(own, &ada()).unwrap_or_else(|| panic!("{own} is easy to guess"));
            assert!(text.contains("about you"), "{text}");
        }
        assert_eq!(weakness("countess of seven purple llamas", &ada()), None);
        assert_eq!(weakness("countess_ada trellis", &OwnWords::default()), None);
    }

    #[test]
    fn long_password_of_any_composition_is_accepted() {
        for password in
            ["correct horse battery staple", "the password of Ada Lovelace", "gr\u{fc}ne \u{c4}pfel auf dem Dach"]
        {
            assert_eq!(weakness(password, &OwnWords::new(&["ada@example.org"])), None, "{password}");
        }
    }

    /// The longest password that the contract admits, of signs that stand for several letters.
    #[test]
    fn longest_password_is_estimated_in_bounded_time() {
        let begun = std::time::Instant::now();
        for one in ["1|7!$5%2({[<@4", "aA1@bB8|cC(lL7"] {
            weakness(&one.repeat(19), &ada());
        }
        // Milliseconds in an optimized build.
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
    }
}
