package docker

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/docker/docker/api/types/container"
)

// The first calls agree on the API version beside each other: no race (for -race to find), the
// version is asked for once where the engine answers, and every call is made in it.
func TestFirstCallsTogether(t *testing.T) {
	for range 20 {
		var mu sync.Mutex
		var pings, strange int
		srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			rw.Header().Set("Api-Version", "1.41")
			switch {
			case r.URL.Path == "/_ping":
				pings++
			case !strings.HasPrefix(r.URL.Path, "/v1.41/"):
				strange++
			case strings.HasSuffix(r.URL.Path, "/info"):
				_, _ = io.WriteString(rw, `{"DockerRootDir": "/d"}`)
			default:
				_, _ = io.WriteString(rw, `[]`)
			}
		}))
		e, err := New(Options{Host: "tcp://" + srv.Listener.Addr().String(), Labels: []string{"a=b"}})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { _, _ = e.Root(t.Context()) })
			wg.Go(func() {
				_, _ = e.list(t.Context(), container.ListOptions{Filters: e.selector.filters()})
			})
		}
		wg.Wait()
		srv.Close()
		if pings != 1 || strange != 0 {
			t.Errorf("%d pings, %d calls in another version", pings, strange)
		}
	}
}

// A version that could not be agreed on is asked for again by the next call.
func TestEngineThatComesUp(t *testing.T) {
	var up atomic.Bool
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch {
		case !up.Load():
			panic(http.ErrAbortHandler)
		case r.URL.Path == "/_ping":
			rw.Header().Set("Api-Version", "1.41")
		case r.URL.Path == "/v1.41/info":
			_, _ = io.WriteString(rw, `{"DockerRootDir": "/d"}`)
		}
	}))
	defer srv.Close()
	e, err := New(Options{Host: "tcp://" + srv.Listener.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Root(t.Context()); err == nil {
		t.Error("an answer from an engine that is down")
	}
	up.Store(true)
	if root, err := e.Root(t.Context()); root != "/d" || err != nil {
		t.Errorf("Root() = %q, %v", root, err)
	}
}
