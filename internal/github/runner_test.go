package github

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// oneRunner serves single runners of one scope.
func oneRunner(f *fakeGitHub, root string, status map[int64]string) {
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		var id int64
		if _, err := fmt.Sscanf(r.URL.Path, "/"+root+"/actions/runners/%d", &id); err != nil || r.Method != http.MethodGet {
			return false
		}
		if status[id] == "" {
			fail(w, http.StatusNotFound, "Not Found")
			return true
		}
		body := fmt.Sprintf(`{"id":%d,"name":"ci-runner-1-x","os":"linux","status":%q,"busy":false,"labels":[]}`, id, status[id])
		etag := fmt.Sprintf(`W/"%x"`, sha256.Sum256([]byte(body)))
		w.Header().Set("ETag", etag)
		if r.Header.Get("If-None-Match") == etag {
			w.WriteHeader(http.StatusNotModified)
			return true
		}
		_, _ = w.Write([]byte(body))
		return true
	}
}

func TestOneRunner(t *testing.T) {
	for scope, root := range map[string]string{"octo/hello": "repos/octo/hello", "octo": "orgs/octo", "enterprises/octo": "enterprises/octo"} {
		t.Run(scope, func(t *testing.T) {
			f := newFakeGitHub(1)
			status := map[int64]string{7: "online", 8: "offline"}
			oneRunner(f, root, status)
			c, s := newClient(t, f, nil), mustScope(t, scope)
			want := func(id int64, status string) {
				t.Helper()
				if r, err := c.Runner(t.Context(), s, id); err != nil || r.ID != id || r.Status != status {
					t.Errorf("runner %d = %+v, %v; want it %s", id, r, err, status)
				}
			}
			want(7, "online")
			want(7, "online")
			if n := c.Snapshot().Requests["304"]; n != 1 {
				t.Errorf("%d answers were confirmed, want the second", n)
			}
			f.do(func() { status[7] = "offline" })
			want(7, "offline")
			want(8, "offline") // another one, under the same name in the cache
			for id := range int64(100) {
				f.do(func() { status[100+id] = "online" })
				want(100+id, "online")
			}
			if n := len(c.cache.pages); n != 1 {
				t.Errorf("%d pages are kept for the registrations that a slot had, want 1", n)
			}
			if _, err := c.Runner(t.Context(), s, 99); !errors.Is(err, runner.ErrNotFound) {
				t.Errorf("a runner that is gone: %v", err)
			}
			if _, err := c.Runner(t.Context(), s, 1); err == nil || errors.Is(err, runner.ErrNotFound) {
				t.Errorf("a runner that is listed, and not found: %v", err)
			}
		})
	}
}

func TestCheckRegister(t *testing.T) {
	for name, tc := range map[string]struct {
		status int
		reason string
	}{"may": {201, ""}, "may not": {403, runner.ReasonPermission}, "rejected": {401, runner.ReasonAuth}, "not visible": {404, runner.ReasonNotFound}} {
		f := newFakeGitHub(0)
		f.before = func(w http.ResponseWriter, _ *http.Request) bool {
			if tc.status != 201 {
				fail(w, tc.status, "no")
				return true
			}
			w.WriteHeader(http.StatusCreated)
			_, _ = w.Write([]byte(`{"token":"secret","expires_at":"2026-08-20T12:00:00Z"}`))
			return true
		}
		err := newClient(t, f, nil).CheckRegister(t.Context(), mustScope(t, "octo/hello"))
		var e *runner.Error
		if (err == nil) != (tc.reason == "") || err != nil && (!errors.As(err, &e) || e.Reason != tc.reason) {
			t.Errorf("%s: %v", name, err)
		}
		if want := []string{"POST /repos/octo/hello/actions/runners/registration-token"}; !slices.Equal(f.requests, want) {
			t.Errorf("%s: asked %q", name, f.requests)
		}
	}
}
