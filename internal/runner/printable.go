package runner

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Printable bounds s to limit bytes and replaces what could deceive a reader of a terminal, a log
// or a page: control and format characters (which include those that turn the direction of
// writing), and invalid UTF-8. A string that was changed equals no name of a container, because
// those are ASCII.
func Printable(s string, limit int) string {
	const ellipsis = "…"
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	if len(s) <= limit {
		return s
	}
	end := limit - len(ellipsis)
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + ellipsis
}
