// Package clitest has helpers for the tests of the programs.
package clitest

import (
	"bytes"
	"regexp"
	"sync"
	"testing"
	"time"
)

// WaitLimit is how long a test waits for something that takes much less time, on a busy machine
// too.
const WaitLimit = 2 * time.Minute

// Output is what a program wrote; it can be read while the program runs.
type Output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

var address = regexp.MustCompile(`address=(127\.0\.0\.1:\d+)`)

// Address waits for the address in the program's log. With 127.0.0.1:0 the program chooses a free
// port; a port that the test chose could be in use by then.
func (o *Output) Address(t testing.TB) string {
	t.Helper()
	var found []string
	Until(t, "the program to listen", func() bool { found = address.FindStringSubmatch(o.String()); return found != nil })
	return found[1]
}

// Until waits for a condition, and fails the test after WaitLimit.
func Until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(WaitLimit)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited %s for %s", WaitLimit, what)
		}
	}
}
