package docker

import (
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// The arithmetic is tested on an answer that is written here: the engine of this machine holds what
// others put there, and takes its time.
func TestReclaimableBytes(t *testing.T) {
	const answer = `{
		"Images": [
			{"Id": "used", "Size": 1000, "SharedSize": 0},
			{"Id": "unused", "Size": 500, "SharedSize": 100},
			{"Id": "unmeasured", "Size": 30, "SharedSize": -1}
		],
		"Containers": [
			{"Id": "1", "ImageID": "used", "State": "running", "SizeRw": 7000},
			{"Id": "2", "ImageID": "used", "State": "exited", "SizeRw": 40},
			{"Id": "3", "ImageID": "used", "State": "created"}
		],
		"Volumes": [{"Name": "v", "UsageData": {"Size": 100000, "RefCount": 0}}],
		"BuildCache": [
			{"ID": "a", "Size": 5, "InUse": false, "Shared": false},
			{"ID": "b", "Size": 600, "InUse": true, "Shared": false},
			{"ID": "c", "Size": 900, "InUse": false, "Shared": true}
		]
	}`
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Api-Version", "1.41")
		if strings.HasSuffix(r.URL.Path, "/system/df") {
			_, _ = io.WriteString(rw, answer)
		}
	}))
	defer srv.Close()
	e, err := New(Options{Host: "tcp://" + srv.Listener.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	got, err := e.ReclaimableBytes(t.Context())
	want := map[string]uint64{kindImages: 430, kindContainers: 40, kindBuildCache: 5}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("ReclaimableBytes() = %v, %v; want %v", got, err, want)
	}
}
