package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Window is when the remediator's actions may begin: always, if it is zero. What was begun is
// finished, and what was stopped is started, outside of it too.
//
// It is written as spans separated by semicolons, each of days, hours and a time zone:
//
//	Mon-Fri 22:00-06:00 Europe/Berlin; Sat,Sun 00:00-24:00 Europe/Berlin
//
// Days may be left out (every day), and so may the zone (UTC). A span that ends before it begins
// goes over midnight and belongs to the day on which it begins. Hours are what a clock on the wall
// there shows: where that is turned forward a span may be an hour shorter, or not come at all, and
// where it is turned back an hour longer.
type Window struct{ spans []hours }

// hours are one part of a window: minutes of the day, the end not included.
type hours struct {
	days     [7]bool // by time.Weekday
	from, to int
	zone     *time.Location
}

const minutesOfDay = 24 * 60

// errWindow says what a window looks like.
var errWindow = errors.New(`want spans such as "Mon-Fri 22:00-06:00 Europe/Berlin", separated by ";"`)

// ParseWindow reads a window; an empty text is always open.
func ParseWindow(text string) (Window, error) {
	var w Window
	if strings.TrimSpace(text) == "" {
		return w, nil
	}
	for part := range strings.SplitSeq(text, ";") {
		s, err := parseSpan(strings.Fields(part))
		if err != nil {
			return Window{}, err
		}
		w.spans = append(w.spans, s)
	}
	return w, nil
}

// parseSpan reads "[DAYS] HH:MM-HH:MM [ZONE]".
func parseSpan(fields []string) (hours, error) {
	s := hours{days: [7]bool{true, true, true, true, true, true, true}, zone: time.UTC}
	if len(fields) > 0 && !strings.Contains(fields[0], ":") {
		days, err := parseDays(fields[0])
		if err != nil {
			return s, err
		}
		s.days, fields = days, fields[1:]
	}
	if len(fields) == 0 || len(fields) > 2 {
		return s, errWindow
	}
	from, to, ok := strings.Cut(fields[0], "-")
	if !ok {
		return s, fmt.Errorf("hours %.32q: %w", fields[0], errWindow)
	}
	var err error
	if s.from, err = parseClock(from); err != nil {
		return s, err
	}
	if s.to, err = parseClock(to); err != nil {
		return s, err
	}
	switch s.from {
	case minutesOfDay:
		return s, errors.New("hours begin at 24:00: write 00:00 of the next day")
	case s.to:
		return s, fmt.Errorf("hours %.32q are empty: the whole day is 00:00-24:00", fields[0])
	}
	if len(fields) == 2 {
		if s.zone, err = time.LoadLocation(fields[1]); err != nil || strings.EqualFold(fields[1], "local") {
			return s, fmt.Errorf("time zone %.64q is not known: want a name such as Europe/Berlin or UTC", fields[1])
		}
	}
	return s, nil
}

// parseDays reads days and ranges of days, separated by commas. A range may go over the end of the
// week.
func parseDays(text string) (days [7]bool, err error) {
	for part := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, to := weekday(first), weekday(last)
		if from < 0 || to < 0 {
			return days, fmt.Errorf("day %.32q: want Mon, Tue, Wed, Thu, Fri, Sat or Sun", part)
		}
		for d := from; ; d = (d + 1) % 7 {
			days[d] = true
			if d == to {
				break
			}
		}
	}
	return days, nil
}

// weekday returns the day of a name such as "Mon", -1 if it is none.
func weekday(name string) int {
	return slices.IndexFunc([]string{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"}, func(d string) bool { return strings.EqualFold(d, name) })
}

// parseClock reads HH:MM, up to 24:00.
func parseClock(text string) (minutes int, err error) {
	if text == "24:00" {
		return minutesOfDay, nil
	}
	t, err := time.Parse("15:04", text)
	if err != nil || len(text) != len("15:04") {
		return 0, fmt.Errorf("time %.32q: want HH:MM from 00:00 to 24:00", text)
	}
	return t.Hour()*60 + t.Minute(), nil
}

// Open reports whether actions may begin now.
func (w Window) Open(now time.Time) bool {
	return len(w.spans) == 0 || slices.ContainsFunc(w.spans, func(s hours) bool { return s.open(now) })
}

func (s hours) open(now time.Time) bool {
	t := now.In(s.zone)
	minute, today, yesterday := t.Hour()*60+t.Minute(), t.Weekday(), (t.Weekday()+6)%7
	if s.from < s.to {
		return s.days[today] && minute >= s.from && minute < s.to
	}
	return s.days[today] && minute >= s.from || s.days[yesterday] && minute < s.to
}

// Next returns when the window opens next after now, which lies outside of it.
func (w Window) Next(now time.Time) time.Time {
	var next time.Time
	for _, s := range w.spans {
		t := now.In(s.zone)
		for day := range 9 { // a week, and a day that has lost the hour
			at := time.Date(t.Year(), t.Month(), t.Day()+day, s.from/60, s.from%60, 0, 0, s.zone)
			if at.After(now) && s.open(at) && (next.IsZero() || at.Before(next)) {
				next = at
				break
			}
		}
	}
	return next
}
