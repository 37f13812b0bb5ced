import type { JSX } from 'preact'
import type { RunData, RunEnergy, RunFact } from '../run-data.ts'
import { formatCount, formatDuration, formatNumber } from '../view/format.ts'
import { Card } from './card.tsx'
import { Provenance } from './provenance.tsx'

type Source = RunEnergy['sources'][number]

function provenanceOf({ state, provenance }: Source): 'measured' | 'modelled' | 'unavailable' {
  if (state === 'unavailable') return 'unavailable'
  return provenance === 'modelled' ? 'modelled' : 'measured'
}

const stateLabels: Readonly<Record<Source['state'], string>> = {
  included: 'counted',
  covered: 'inside another source',
  alias: 'the same as another source',
  shown_only: 'shown, not counted',
  unavailable: 'not readable',
}

function SourceLine({ source }: { readonly source: Source }): JSX.Element {
  return (
    <li class="source">
      <div class="source-head">
        <strong>{source.label}</strong>
        <Provenance of={provenanceOf(source)} />
        <span class="muted">
          {source.scope} · {stateLabels[source.state]}
          {source.state === 'unavailable' ? '' : ` · ±${formatNumber(100 * source.relativeUncertainty)} %`}
        </span>
      </div>
      <p>{source.method}</p>
      <p class="muted">{source.reason}</p>
    </li>
  )
}

function Facts({ facts }: { readonly facts: readonly RunFact[] }): JSX.Element {
  return (
    <dl class="facts">
      {facts.map(({ name, value }) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  )
}

function Verification({ energy }: { readonly energy: RunEnergy }): JSX.Element | undefined {
  const { verification } = energy
  if (verification === undefined) return undefined
  const { ok, segments, commits, samples, tornBytes, findings } = verification
  return (
    <p class={ok ? 'verdict verdict-good' : 'verdict verdict-bad'}>
      <strong>{ok ? 'The ledger balances.' : `The ledger has ${findings.length} findings.`}</strong>{' '}
      {formatCount(samples)} samples in {formatCount(commits)} commits of {formatCount(segments)}{' '}
      {segments === 1 ? 'segment' : 'segments'}: checksums, hash chain and invariants {ok ? 'hold' : 'were checked'}
      {tornBytes > 0 ? `; ${formatCount(tornBytes)} bytes after the last commit are not counted` : ''}.
    </p>
  )
}

/** Where the figures come from: sources, proof, factors, machine, settings. */
export function Sources({ run }: { readonly run: RunData }): JSX.Element {
  const { energy } = run
  return (
    <Card id="sources" title="Sources and proof" lead="What was measured, what was modelled, and what was not there.">
      {energy === undefined ? (
        <p class="note">No energy ledger: energy is unavailable, which is not zero.</p>
      ) : (
        <>
          <Verification energy={energy} />
          <ul class="sources">
            {energy.sources.map((source) => (
              <SourceLine key={source.id} source={source} />
            ))}
          </ul>
          {energy.gaps.length === 0 ? undefined : (
            <>
              <h3>Gaps</h3>
              <ul class="gaps">
                {energy.gaps.map(({ source, seconds, reason }) => (
                  <li key={`${source} ${reason}`}>
                    {formatDuration(seconds)}, {source === '*' ? 'all sources' : source}: {reason}
                  </li>
                ))}
              </ul>
            </>
          )}
          <p class="muted">
            Carbon: {energy.factor.zone}, {energy.factors > 1 ? `mean of ${energy.factors} factors over time: ` : ''}
            {formatNumber(energy.factor.gramsPerKilowattHour)} g/kWh ({energy.factor.kind}, {energy.factor.validFor})
            from {energy.factor.source}, {energy.factor.licence}; PUE {formatNumber(energy.powerUsageEffectiveness)}.
            The factor’s own error is not in the interval.
          </p>
        </>
      )}
      <div class="columns">
        {run.machine.length === 0 ? undefined : (
          <div>
            <h3>Machine</h3>
            <Facts facts={run.machine} />
          </div>
        )}
        {run.settings.length === 0 ? undefined : (
          <div>
            <h3>Settings</h3>
            <Facts facts={run.settings} />
          </div>
        )}
      </div>
    </Card>
  )
}
