// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

// object is a JSON object of Grafana's dashboard model.
type object = map[string]any

// panel is a panel of the dashboard.
type panel struct {
	title, description string
	// kind is the type of the panel: stat, timeseries or table.
	kind string
	// unit is a unit of Grafana, such as s or reqps.
	unit string
	// width is the number of columns, of 24.
	width int
	// queries holds the queries in PromQL, by their legend.
	queries []query
}

// query is a query in PromQL with its legend.
type query struct{ expression, legend string }

// row is a heading with the panels below it.
type row struct {
	title  string
	panels []panel
}

var datasource = object{"type": "prometheus", "uid": "${datasource}"}

// layout returns the panels of the rows, from left to right and from top to bottom.
func layout(rows []row) []object {
	var list []object
	id, y := 0, 0
	add := func(o object, x, width, height int) {
		id++
		o["id"], o["gridPos"] = id, object{"x": x, "y": y, "w": width, "h": height}
		list = append(list, o)
	}
	for _, r := range rows {
		add(object{"type": "row", "title": r.title, "collapsed": false, "panels": []object{}}, 0, columns, 1)
		y++
		x, height := 0, 0
		for _, p := range r.panels {
			if x+p.width > columns {
				x, y = 0, y+height
			}
			height = heights[p.kind]
			add(p.object(), x, p.width, height)
			x += p.width
		}
		y += height
	}
	return list
}

const columns = 24

// heights holds the height of each kind of panel. Panels that share a line have the same height.
var heights = map[string]int{"stat": 4, "timeseries": 8, "table": 8}

func (p panel) object() object {
	var targets []object
	for i, q := range p.queries {
		target := object{"refId": string(rune('A' + i)), "datasource": datasource, "expr": q.expression, "legendFormat": q.legend}
		if p.kind != "timeseries" {
			target["instant"], target["range"] = true, false
		}
		if p.kind == "table" {
			target["format"] = "table"
		}
		targets = append(targets, target)
	}
	o := object{
		"type": p.kind, "title": p.title, "description": p.description, "datasource": datasource, "targets": targets,
		"fieldConfig": object{"defaults": object{"unit": p.unit, "min": 0}, "overrides": []object{}},
	}
	switch p.kind {
	case "stat":
		o["options"] = object{"colorMode": "none", "graphMode": "none", "textMode": "auto"}
	case "table":
		o["transformations"] = []object{{"id": "organize", "options": object{"excludeByName": object{"Time": true}}}}
	case "timeseries":
		o["options"] = object{
			"legend":  object{"displayMode": "list", "placement": "bottom"},
			"tooltip": object{"mode": "multi", "sort": "desc"},
		}
	}
	return o
}

// variable returns a variable of the dashboard whose values are those of a label, or all of them.
func variable(name, label, query string) object {
	return object{
		"type": "query", "name": name, "label": label, "datasource": datasource, "definition": query,
		"query":   object{"query": query, "refId": "variable"},
		"refresh": 2, "sort": 1, "multi": true, "includeAll": true, "allValue": ".*", "current": object{"text": "All", "value": "$__all"},
	}
}
