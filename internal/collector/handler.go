package collector

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// The names of all sources, and of the exporter's own metrics (Go runtime, process, build_info,
// promhttp), which are selected like a source.
const (
	NameClock      = "clock"
	NameContainer  = "container"
	NameCredential = "credential"
	NameDisk       = "disk"
	NameDNS        = "dns"
	NameExporter   = "exporter"
	NameGitHub     = "github"
	NameHealth     = "health"
	NameListener   = "listener"
	NameThreshold  = "threshold"
)

var names = []string{
	NameClock, NameContainer, NameCredential, NameDisk, NameDNS, NameExporter, NameGitHub, NameHealth, NameListener,
	NameThreshold,
}

// Handler serves the set, and own, which holds the exporter's metrics about itself.
//
// The URL selects: collect[]=health&collect[]=listener serves only these sources, exclude[]=… all
// but these; without either all are served. So one Prometheus can scrape what is urgent every
// second, and the rest every fifteen. A name that no source has is answered with 400 and the list
// of names; the name of a source that is turned off selects nothing, so that the same scrape
// configuration fits every host.
func (s *Set) Handler(own *prometheus.Registry, logger *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		keep, err := selection(r.URL.Query()["collect[]"], r.URL.Query()["exclude[]"])
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		selected := prometheus.NewRegistry()
		selected.MustRegister(s.only(keep))
		if keep(NameExporter) {
			selected.MustRegister(own)
		}
		promhttp.HandlerFor(selected, promhttp.HandlerOpts{
			Registry:      own,
			ErrorLog:      slog.NewLogLogger(logger.Handler(), slog.LevelError),
			ErrorHandling: promhttp.ContinueOnError,
		}).ServeHTTP(w, r)
	})
}

// selection turns the URL's lists into a predicate over names.
func selection(collect, exclude []string) (func(name string) bool, error) {
	for _, name := range slices.Concat(collect, exclude) {
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("no source is called %q; the sources are %s", name, strings.Join(names, ", "))
		}
	}
	switch {
	case len(collect) > 0 && len(exclude) > 0:
		return nil, errors.New("collect[] and exclude[] exclude each other; give one of them")
	case len(collect) > 0:
		return func(name string) bool { return slices.Contains(collect, name) }, nil
	default:
		return func(name string) bool { return !slices.Contains(exclude, name) }, nil
	}
}
