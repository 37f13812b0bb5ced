import { render } from 'preact'
import 'uplot/dist/uPlot.min.css'
import type { DashboardData } from '../run-data.ts'
import { App } from './app.tsx'
import './page.css'

const place = document.getElementById('app')
const text = document.getElementById('data')?.textContent
if (place !== null && text !== undefined && text !== null) {
  render(<App initial={JSON.parse(text) as DashboardData} />, place)
}
