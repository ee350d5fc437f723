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
	dto "github.com/prometheus/client_model/go"
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
// collect[]=health&collect[]=listener in the URL serves only these sources. So one Prometheus can
// scrape what is urgent every second, and the rest every fifteen. A name that no source has is
// answered with 400 and the list of names; the name of a source that is turned off selects nothing,
// so that the same scrape configuration fits every host.
func (s *Set) Handler(own *prometheus.Registry, logger *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		wanted := r.URL.Query()["collect[]"]
		for _, name := range wanted {
			if !slices.Contains(names, name) {
				http.Error(w, fmt.Sprintf("no source is called %q; the sources are %s", name, strings.Join(names, ", ")), http.StatusBadRequest)
				return
			}
		}
		selected := func() ([]*dto.MetricFamily, error) {
			families, err := s.only(wanted).Gather()
			if len(wanted) > 0 && !slices.Contains(wanted, NameExporter) {
				return families, err
			}
			more, moreErr := own.Gather()
			return append(families, more...), errors.Join(err, moreErr)
		}
		promhttp.HandlerFor(prometheus.GathererFunc(selected), promhttp.HandlerOpts{
			Registry: own,
			// A scrape that Prometheus gives up is an error for each metric family.
			// promhttp_metric_handler_errors_total counts them.
			ErrorLog:      slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
			ErrorHandling: promhttp.ContinueOnError,
		}).ServeHTTP(w, r)
	})
}
