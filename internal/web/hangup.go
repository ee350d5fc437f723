package web

import "net/http"

// unheard keeps from a handler that nobody reads its answer any more: a scrape that Prometheus has given up would be logged as one
// error for each of its metrics, and there is nothing to be done about it here.
func unheard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(&hangup{ResponseWriter: w}, r)
	})
}

// hangup takes everything after the first write that failed, and throws it away.
type hangup struct {
	http.ResponseWriter

	gone bool
}

func (h *hangup) Write(p []byte) (int, error) {
	if !h.gone {
		_, err := h.ResponseWriter.Write(p)
		h.gone = err != nil
	}
	return len(p), nil
}

// Unwrap lets http.ResponseController find the connection.
func (h *hangup) Unwrap() http.ResponseWriter { return h.ResponseWriter }
