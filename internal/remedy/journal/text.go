package journal

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Clean bounds s to limit bytes and replaces what could deceive a reader of a terminal, a log or a
// page: control and format characters (which include those that turn the direction of writing), and
// invalid UTF-8. A string that was changed equals no name of a container, because those are ASCII.
func Clean(s string, limit int) string {
	const ellipsis = "…"
	if printable(s) && len(s) <= limit {
		return s
	}
	cut := len(s) > limit
	if cut {
		s = s[:limit] // perhaps in the middle of a character, which is replaced below
	}
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) {
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	if !cut && len(s) <= limit {
		return s
	}
	for len(s) > limit-len(ellipsis) {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return s + ellipsis
}

// printable reports whether s is printable ASCII.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
