package remedy

import (
	_ "embed"
	"html/template"
	"net/http"
	"time"
)

//go:embed page.html
var pageHTML string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"time": func(t time.Time) string {
		if t.IsZero() {
			return "–"
		}
		return t.UTC().Format("2006-01-02 15:04:05 MST")
	},
}).Parse(pageHTML))

// pageAttempts is how many lines of history the page shows.
const pageAttempts = 30

// Page is the status page: what a person wants to know at a glance. It only shows.
func (r *Remediator) Page() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path != "/" {
			http.NotFound(w, req)
			return
		}
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		_ = pageTemplate.Execute(w, struct {
			Status   Status
			Attempts []Record
			Now      time.Time
		}{r.Status(), r.Attempts(pageAttempts), time.Now()})
	})
}
