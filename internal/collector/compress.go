package collector

import (
	"compress/gzip"
	"io"
	"net/http"
	"strings"
)

// Prometheus asks for gzip. At the level that promhttp would choose, compressing takes twice as long as everything else in a
// scrape together; the fastest one makes of the same repetitive text hardly more bytes in a fifth of the time.

// compressors are kept between scrapes. Not in a sync.Pool: each is more than a megabyte, more than all else that a scrape of a
// few runners makes, and a pool loses it with every second garbage collection.
var compressors = make(chan *gzip.Writer, 2)

func borrow() *gzip.Writer {
	select {
	case c := <-compressors:
		return c
	default:
		c, _ := gzip.NewWriterLevel(io.Discard, gzip.BestSpeed) // fails for levels that do not exist
		return c
	}
}

func giveBack(c *gzip.Writer) {
	c.Reset(io.Discard)
	select {
	case compressors <- c:
	default:
	}
}

// compressed compresses what next answers with status 200, for whoever takes that.
func compressed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Vary", "Accept-Encoding")
		if !takesGzip(r.Header.Values("Accept-Encoding")) {
			next.ServeHTTP(w, r)
			return
		}
		c := &compressor{ResponseWriter: w}
		defer c.end()
		next.ServeHTTP(c, r)
	})
}

// compressor is an answer of which no length was announced.
type compressor struct {
	http.ResponseWriter

	begun bool
	to    *gzip.Writer // nil: this answer is not compressed
}

func (c *compressor) WriteHeader(status int) {
	if !c.begun && status == http.StatusOK {
		c.to = borrow()
		c.to.Reset(c.ResponseWriter)
		c.Header().Set("Content-Encoding", "gzip")
	}
	c.begun = true
	c.ResponseWriter.WriteHeader(status)
}

func (c *compressor) Write(b []byte) (int, error) {
	if !c.begun {
		c.WriteHeader(http.StatusOK)
	}
	if c.to == nil {
		return c.ResponseWriter.Write(b)
	}
	return c.to.Write(b)
}

func (c *compressor) end() {
	if c.to != nil {
		_ = c.to.Close() // the client is gone: nothing to be done
		giveBack(c.to)
	}
}

func takesGzip(accepted []string) bool {
	for _, list := range accepted {
		for item := range strings.SplitSeq(list, ",") {
			name, weight, _ := strings.Cut(item, ";")
			if strings.EqualFold(strings.TrimSpace(name), "gzip") {
				weight = strings.TrimPrefix(strings.TrimSpace(weight), "q=")
				return strings.Trim(weight, "0.") != "" || weight == ""
			}
		}
	}
	return false
}
