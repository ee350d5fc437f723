package runner

import (
	"strings"
	"unicode"
)

// Printable returns text from elsewhere as one line that cannot control a terminal: every character
// that is not printable becomes a space, and at most limit characters are kept.
func Printable(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if runes := []rune(s); len(runes) > limit {
		s = string(runes[:limit]) + "…"
	}
	return strings.TrimSpace(s)
}
