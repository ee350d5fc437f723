package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// gitHub simulates the list of n runners of the repository gr/figures: pages of up to 100 with
// links, conditional requests, and all headers that the exporter reads. Nothing changes.
func gitHub(n int) http.Handler {
	type label struct {
		Name string `json:"name"`
	}
	type runner struct {
		ID     int     `json:"id"`
		Name   string  `json:"name"`
		OS     string  `json:"os"`
		Status string  `json:"status"`
		Busy   bool    `json:"busy"`
		Labels []label `json:"labels"`
	}
	var all []runner
	for i := range n {
		all = append(all, runner{ID: i + 1, Name: slot(i) + "-3f9c2a", OS: "linux", Status: "online", Labels: []label{{"self-hosted"}, {"linux"}, {"x64"}}})
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /repos/gr/figures/actions/runners", func(w http.ResponseWriter, r *http.Request) {
		size, page := 30, 1
		if v, err := strconv.Atoi(r.URL.Query().Get("per_page")); err == nil {
			size = min(max(v, 1), 100)
		}
		if v, err := strconv.Atoi(r.URL.Query().Get("page")); err == nil {
			page = max(v, 1)
		}
		h := w.Header()
		if page*size < n {
			h.Set("Link", fmt.Sprintf(`<http://%s%s?per_page=%d&page=%d>; rel="next"`, r.Host, r.URL.Path, size, page+1))
		}
		body, err := json.Marshal(map[string]any{"total_count": n, "runners": all[min(n, (page-1)*size):min(n, page*size)]})
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		sum := sha256.Sum256(body)
		tag := `"` + hex.EncodeToString(sum[:]) + `"`
		h.Set("ETag", tag)
		h.Set("Content-Type", "application/json; charset=utf-8")
		h.Set("X-OAuth-Scopes", "repo")
		h.Set("GitHub-Authentication-Token-Expiration", time.Now().Add(2400*time.Hour).UTC().Format("2006-01-02 15:04:05 UTC"))
		h.Set("X-RateLimit-Limit", "5000")
		h.Set("X-RateLimit-Remaining", "4900")
		h.Set("X-RateLimit-Reset", strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10))
		h.Set("X-RateLimit-Resource", "core")
		if r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = w.Write(body)
	})
	return mux
}

// slot is the name of the i-th runner slot.
func slot(i int) string { return fmt.Sprintf("ci-runner-%d", i+1) }
