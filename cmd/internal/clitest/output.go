// Package clitest is what the tests of the programs share.
package clitest

import (
	"bytes"
	"regexp"
	"sync"
	"testing"
	"time"
)

// Patience is how long a test waits for what should come much sooner, on a busy machine too.
const Patience = 2 * time.Minute

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

// Address waits until the log tells where the program listens. A program that is told 127.0.0.1:0 chooses its port itself:
// one that a test chooses and gives back may be somebody else's when the program wants it.
func (o *Output) Address(t testing.TB) string {
	t.Helper()
	var found []string
	Until(t, "the program to listen", func() bool { found = address.FindStringSubmatch(o.String()); return found != nil })
	return found[1]
}

// Until waits for a condition, and fails the test if that takes far longer than anything here should.
func Until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(Patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited %s for %s", Patience, what)
		}
	}
}
