package postgres

import (
	"strings"
	"unicode"
)

// Prefixes turns what a person types into a tsquery that finds the texts which hold, for each of its words, a word
// that begins with it. Without a word the query is empty, and finds nothing.
func Prefixes(search string) string { return strings.Join(quoted(search, "':*"), " & ") }

// Words turns what a person types into a tsquery that finds the texts which hold one of its words.
func Words(search string) string { return strings.Join(quoted(search, "'"), " | ") }

// quoted gives the words as the operands of a tsquery. They have no character that needs to be escaped there.
func quoted(search, end string) []string {
	words := strings.FieldsFunc(search, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r) })
	for i, w := range words {
		words[i] = "'" + w + end
	}
	return words
}
