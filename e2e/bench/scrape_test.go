package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestSeries(t *testing.T) {
	if n := series("a{x=\"1\"} 2\na{x=\"2\"} 3\nab{x=\"1\"} 4\nb 1.5e+06\n", "a"); n != 2 {
		t.Errorf("%d series of a, want 2", n)
	}
}

// The simulated GitHub has all runners on its pages, once each, and charges nothing for what did
// not change.
func TestGitHub(t *testing.T) {
	hub := httptest.NewServer(gitHub(250))
	defer hub.Close()
	names, next, etag := map[string]bool{}, hub.URL+"/repos/gr/figures/actions/runners?per_page=100", ""
	get := func(url, tag string) (status int, header http.Header, body string) {
		req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("If-None-Match", tag)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, resp.Header, string(text)
	}
	first := next
	for pages := 0; next != ""; pages++ {
		if pages > 3 {
			t.Fatal("the pages have no end")
		}
		_, header, body := get(next, "")
		if next == first {
			etag = header.Get("ETag")
		}
		for i := range 250 {
			if strings.Contains(body, `"`+slot(i)+"-") {
				names[slot(i)] = true
			}
		}
		next, _, _ = strings.Cut(strings.TrimPrefix(header.Get("Link"), "<"), ">")
	}
	if len(names) != 250 {
		t.Errorf("%d runners on all pages", len(names))
	}
	if status, _, body := get(first, etag); status != http.StatusNotModified || body != "" {
		t.Errorf("asked again: %d with %d bytes", status, len(body))
	}
}
