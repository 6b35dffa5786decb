package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"vnode/bench/report"
)

var reportCommand = command{
	name: "report", summary: "tables and a page of earlier results",
	help: `Reads results that were written with -json, joins them if there are several, and
shows them again.

  bench report compare.json growth.json -o report.html
`,
	setup: setupReport,
}

func setupReport(f *flag.FlagSet) func(context.Context, io.Writer, io.Writer, []string) error {
	page := f.String("o", "", "write a page to this `file` in place of a table to the terminal")
	json := f.String("json", "", "also write what was joined to this `file`, as JSON")
	return func(_ context.Context, out, _ io.Writer, args []string) error {
		if len(args) == 0 {
			return fmt.Errorf("no result is named (%w)", errUsage)
		}
		file, err := readResults(args)
		if err != nil {
			return err
		}
		if *json != "" {
			if err := writeFile(*json, file.WriteJSON); err != nil {
				return err
			}
		}
		if *page != "" {
			return writeFile(*page, file.WriteHTML)
		}
		return file.WriteTable(out)
	}
}

// readResults joins the files with those paths.
func readResults(paths []string) (*report.File, error) {
	var files []*report.File
	for _, path := range paths {
		f, err := readResult(path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		files = append(files, f)
	}
	return report.Join(files...), nil
}

func readResult(path string) (*report.File, error) {
	f, err := os.Open(filepath.Clean(path))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	return report.ReadJSON(f)
}
