package lab

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// TestService: answers, hangs until it is restarted, and a new process works although the switch is still on.
func TestService(t *testing.T) {
	b := newBench(t)
	asked := make(chan struct{})
	relay := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case asked <- struct{}{}:
		default:
		}
		b.gh.ServeHTTP(w, r)
	}))
	defer relay.Close()
	// A process asks for its switch again and again. When it asks for the second time from now, it has seen what is on now.
	looked := func() {
		t.Helper()
		for range 2 {
			select {
			case <-asked:
			case <-time.After(patience):
				t.Fatal("nobody asks for the switch")
			}
		}
	}
	// A process that hangs does so for ever: to ask again tells it from a machine that is slow once.
	works := func(address string) error {
		var err error
		for range 5 {
			if err = CheckService(t.Context(), address); err == nil {
				return nil
			}
		}
		return err
	}
	start := func() (address string, stop func()) {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		s := NewService(ServiceOptions{LabURL: relay.URL})
		go func() { done <- s.Serve(ctx, l) }()
		return l.Addr().String(), func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	address, stop := start()
	looked() // the switch must not be older than the process's first look at it
	if err := works(address); err != nil {
		t.Fatal(err)
	}
	b.fault(faultServiceHang, true, "")
	looked()
	if err := CheckService(t.Context(), address); err == nil {
		t.Fatal("does not hang")
	}
	stop()

	address, stop = start()
	defer stop()
	for range 2 {
		looked()
		if err := works(address); err != nil {
			t.Errorf("after a restart: %v", err)
		}
	}
	b.fault(faultServiceHang, false, "")
	if err := CheckService(t.Context(), "127.0.0.1:1"); err == nil {
		t.Error("a closed port passed the check")
	}
}
