// Writes the three dashboards as the JSON that Grafana reads. Run it in this folder after every
// change:
//
//	go run .
//
// It is a separate module so that the programs do not depend on its libraries. Queries and texts
// are in overview.go, remediation.go and pipeline.go, the look of panels in look.go, the rest in
// board.go.
package main

import (
	"encoding/json"
	"fmt"
	"os"
)

func main() {
	if err := write(); err != nil {
		fmt.Fprintln(os.Stderr, "dashboards:", err)
		os.Exit(1)
	}
}

func write() error {
	files, err := generate("../rules")
	if err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(name, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// generate returns each dashboard by the name of its file, with the thresholds of the rules in a
// folder.
func generate(rules string) (map[string][]byte, error) {
	limits, err := readLimits(rules)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, b := range []board{overview(limits), remediation(limits), pipeline(limits)} {
		built, err := b.build()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", b.name, err)
		}
		text, err := json.MarshalIndent(built, "", "  ")
		if err != nil {
			return nil, fmt.Errorf("%s: %w", b.name, err)
		}
		files[b.name+".json"] = append(text, '\n')
	}
	return files, nil
}
