import type { ComponentChildren, JSX } from 'preact'

/** A section of the page. */
export function Card({
  id,
  title,
  lead,
  controls,
  children,
}: {
  readonly id: string
  readonly title: string
  /** One sentence under the title. */
  readonly lead?: ComponentChildren
  readonly controls?: ComponentChildren
  readonly children: ComponentChildren
}): JSX.Element {
  return (
    <section class="card" id={id} aria-labelledby={`${id}-title`}>
      <header class="card-head">
        <div>
          <h2 id={`${id}-title`}>{title}</h2>
          {lead === undefined ? undefined : <p class="lead">{lead}</p>}
        </div>
        {controls === undefined ? undefined : <div class="controls">{controls}</div>}
      </header>
      {children}
    </section>
  )
}
