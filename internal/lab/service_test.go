package lab

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// The service answers, hangs until it is restarted, and works in a new process although the fault
// is still on.
func TestServiceHangsUntilRestart(t *testing.T) {
	b := newTestGitHub(t)
	asked := make(chan struct{})
	relay := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case asked <- struct{}{}:
		default:
		}
		b.gh.ServeHTTP(w, r)
	}))
	defer relay.Close()
	// The process polls its fault. After its second poll from now, it has seen the present state.
	looked := func() {
		t.Helper()
		for range 2 {
			select {
			case <-asked:
			case <-time.After(patience):
				t.Fatal("the process does not poll the fault")
			}
		}
	}
	// Two checks tell a process that hangs from a machine that was slow once.
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
	looked() // the fault must not be older than the process's first poll
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
