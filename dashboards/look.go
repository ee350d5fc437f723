package main

import (
	"strconv"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/statetimeline"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// panel is what is shown; its kind determines the look.
type panel struct {
	kind               kind
	title, about, unit string
	width              uint32 // of 24
	queries            []query
	steps              []step   // colors from a value on; on a graph also lines
	states             []state  // the meaning of values
	alerts             []string // runbooks to link
	hidden             []string // columns of a table
}

type kind int

const (
	answer   kind = iota // one large value
	graph                // lines
	bars                 // events, stacked
	timeline             // states over time
	list                 // a table of the present state
)

// query is PromQL and the name of its series. A name that begins with "threshold" is drawn as a
// dashed red line.
type query struct{ expr, name string }

// step is a color from a value on.
type step struct {
	from  float64
	color string
}

type state struct {
	value       int
	text, color string
}

const (
	red, orange, yellow, green, blue, grey = "red", "orange", "yellow", "green", "blue", "#8e8e8e"

	seconds, bytes, count, share, none = "s", "decbytes", "short", "percentunit", "none"
)

// truth has the states of a metric that is 0 or 1.
var truth = []state{{0, "no", red}, {1, "yes", green}}

func (p panel) builder() cog.Builder[dashboard.Panel] {
	switch p.kind {
	case answer:
		return style(p, stat.NewPanelBuilder(), 5).ColorMode(common.BigValueColorModeBackgroundSolid).GraphMode(common.BigValueGraphModeNone).Orientation(common.VizOrientationAuto).
			ReduceOptions(common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"})).NoValue("unknown")
	case graph:
		b := style(p, timeseries.NewPanelBuilder(), 8).ShowPoints(common.VisibilityModeNever).FillOpacity(8).Legend(legend()).Tooltip(tooltip()).
			ColorScheme(dashboard.NewFieldColorBuilder().Mode(dashboard.FieldColorModeIdPaletteClassic)).
			OverrideByRegexp("/^threshold/", []dashboard.DynamicConfigValue{
				{Id: "color", Value: map[string]string{"mode": "fixed", "fixedColor": red}},
				{Id: "custom.lineStyle", Value: map[string]any{"fill": "dash", "dash": []int{10, 10}}},
				{Id: "custom.fillOpacity", Value: 0},
			})
		if len(p.steps) > 1 {
			b.ThresholdsStyle(common.NewGraphThresholdsStyleConfigBuilder().Mode(common.GraphThresholdsStyleModeDashed))
		}
		return b
	case bars:
		return style(p, timeseries.NewPanelBuilder(), 8).DrawStyle(common.GraphDrawStyleBars).FillOpacity(80).Min(0).Legend(legend()).Tooltip(tooltip()).
			Stacking(common.NewStackingConfigBuilder().Mode(common.StackingModeNormal)).
			ColorScheme(dashboard.NewFieldColorBuilder().Mode(dashboard.FieldColorModeIdPaletteClassic))
	case timeline:
		return style(p, statetimeline.NewPanelBuilder(), 8).MergeValues(true).ShowValue(common.VisibilityModeAuto).
			ColorScheme(dashboard.NewFieldColorBuilder().Mode(dashboard.FieldColorModeIdThresholds))
	default:
		hide := map[string]bool{"Time": true}
		for _, column := range p.hidden {
			hide[column] = true
		}
		return style(p, table.NewPanelBuilder(), 8).Footer(common.NewTableFooterOptionsBuilder().Show(false).Reducer([]string{})).WithTransformation(dashboard.DataTransformerConfig{
			Id: "organize", Options: map[string]any{"excludeByName": hide},
		})
	}
}

// styled is the common interface of the builders of all panels.
type styled[B any] interface {
	cog.Builder[dashboard.Panel]
	Title(string) B
	Description(string) B
	Unit(string) B
	Span(uint32) B
	Height(uint32) B
	Datasource(common.DataSourceRef) B
	Links([]cog.Builder[dashboard.DashboardLink]) B
	Mappings([]dashboard.ValueMapping) B
	Thresholds(cog.Builder[dashboard.ThresholdsConfig]) B
	WithTarget(cog.Builder[variants.Dataquery]) B
}

// style applies what is common to all kinds.
func style[B styled[B]](p panel, b B, height uint32) B {
	about := p.about
	if p.kind == bars {
		about += " A bar counts the events of the minute before it, or of a longer time if more is shown, so one event can be in several bars."
	}
	b.Title(p.title).Description(about).Unit(p.unit).Span(p.width).Height(height).Datasource(source).Thresholds(p.thresholds())
	var links []cog.Builder[dashboard.DashboardLink]
	for _, alert := range p.alerts {
		links = append(links, dashboard.NewDashboardLinkBuilder("Runbook: "+alert).Type(dashboard.DashboardLinkTypeLink).
			Url(runbooks+"#"+strings.ToLower(alert)).TargetBlank(true))
	}
	if links != nil {
		b.Links(links)
	}
	if p.states != nil {
		b.Mappings([]dashboard.ValueMapping{{ValueMap: &dashboard.ValueMap{Type: dashboard.MappingTypeValueToText, Options: p.mapping()}}})
	}
	for i, q := range p.queries {
		b.WithTarget(q.target(p.kind, string(rune('A'+i))))
	}
	return b
}

func (p panel) thresholds() *dashboard.ThresholdsConfigBuilder {
	steps := []dashboard.Threshold{{Color: green}}
	for i, s := range p.steps {
		if i == 0 {
			steps[0].Color = s.color // the first one has no lower limit
			continue
		}
		steps = append(steps, dashboard.Threshold{Value: &s.from, Color: s.color})
	}
	return dashboard.NewThresholdsConfigBuilder().Mode(dashboard.ThresholdsModeAbsolute).Steps(steps)
}

func (p panel) mapping() map[string]dashboard.ValueMappingResult {
	all := map[string]dashboard.ValueMappingResult{}
	for i, s := range p.states {
		all[strconv.Itoa(s.value)] = dashboard.ValueMappingResult{Text: &s.text, Color: &s.color, Index: new(int32(i))}
	}
	return all
}

func (q query) target(k kind, ref string) *prometheus.DataqueryBuilder {
	t := prometheus.NewDataqueryBuilder().Expr(q.expr).LegendFormat(q.name).RefId(ref).Datasource(source).EditorMode(prometheus.QueryEditorModeCode)
	switch {
	case k == list:
		return t.Instant().Format(prometheus.PromQueryFormatTable)
	case k == answer:
		return t.Instant()
	case scrapedEachMinute(q.expr):
		return t.Range().Interval("1m") // $__rate_interval becomes four minutes
	}
	return t.Range()
}

// scrapedEachMinute reports whether a query uses metrics of the programs themselves, scraped once a
// minute.
func scrapedEachMinute(expr string) bool {
	return strings.Contains(expr, "prometheus_") || strings.Contains(expr, "alertmanager_") || strings.Contains(expr, "process_")
}

func legend() *common.VizLegendOptionsBuilder {
	return common.NewVizLegendOptionsBuilder().DisplayMode(common.LegendDisplayModeList).Placement(common.LegendPlacementBottom).ShowLegend(true)
}

func tooltip() *common.VizTooltipOptionsBuilder {
	return common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeMulti)
}
