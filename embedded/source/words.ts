/** The closed vocabulary of the small world: every list is written out, so that a reader can see all of it. */

const list = (text: string): readonly string[] => text.trim().split(/\s+/u)

/** `key/value` entries; an underscore stands for a space. */
const pairs = (text: string): readonly (readonly [string, string])[] =>
  list(text).map((entry) => {
    const [key, value] = entry.split('/')
    if (key === undefined || value === undefined) throw new Error(`"${entry}" is no key/value pair`)
    return [key.replaceAll('_', ' '), value.replaceAll('_', ' ')] as const
  })

export const people: readonly string[] = list(`
  Ada Alma Anton Bela Boris Bruno Carla Clara Dario Dora Edda Elias Emil Ferro Fina Gerda Gustav Hanna Hugo Ida Igor
  Ines Ivo Jana Jonas Julia Karin Kaspar Lena Leo Lotte Lukas Magda Marta Milo Mira Nadia Nils Nora Olga Oscar Otto
  Paula Petra Pia Quirin Rasmus Rita Rosa Ruben Selma Silas Stella Tamar Theo Tilda Ulla Vera Viktor Wanda`)

export const towns: readonly string[] = list(`
  Fernhollow Saltbridge Oakmere Windhaven Copperhill Marshgate Larkfield Stonewick Appleford Greyharbour Thornbury
  Millbrook Foxdale Silverlea Hazelport Ravenscar`)

export const rivers: readonly string[] = list('Alder Brena Corva Dinn Ember Falla Gorse Hale')
export const products: readonly string[] = list(
  'cheese pottery honey bells paper cider glass carpets baskets clocks candles soap',
)
export const colours: readonly string[] = list('red green blue yellow white black orange purple brown grey pink')
export const jobs: readonly string[] = list(`
  baker miller teacher doctor sailor weaver potter farmer printer tailor barber gardener carpenter blacksmith
  shepherd librarian`)
export const pets: readonly string[] = list(
  'cat dog goat parrot rabbit pony tortoise hedgehog goose donkey squirrel canary',
)
export const foods: readonly string[] = list(
  'soup bread pancakes plums dumplings noodles porridge cherries mushrooms pickles cake rice',
)
export const instruments: readonly string[] = list(
  'flute violin drum harp trumpet accordion guitar piano cello clarinet',
)

/** Animal and its group. */
export const animalGroups: readonly (readonly [string, string])[] = pairs(`
  heron/bird owl/bird swan/bird sparrow/bird eagle/bird stork/bird raven/bird robin/bird duck/bird penguin/bird
  trout/fish salmon/fish carp/fish herring/fish pike/fish shark/fish eel/fish cod/fish
  ant/insect bee/insect beetle/insect moth/insect wasp/insect cricket/insect fly/insect butterfly/insect
  frog/amphibian toad/amphibian newt/amphibian salamander/amphibian
  snake/reptile lizard/reptile turtle/reptile crocodile/reptile gecko/reptile
  fox/mammal wolf/mammal bear/mammal cow/mammal horse/mammal sheep/mammal whale/mammal bat/mammal mouse/mammal deer/mammal
  otter/mammal pig/mammal`)

/** Animal and the word for its young. */
export const animalYoung: readonly (readonly [string, string])[] = pairs(`
  frog/tadpole cow/calf sheep/lamb horse/foal swan/cygnet goose/gosling duck/duckling dog/puppy cat/kitten bear/cub
  deer/fawn pig/piglet goat/kid eagle/eaglet owl/owlet hen/chick hare/leveret eel/elver`)

/** Animal and the verb for its call. */
export const animalCalls: readonly (readonly [string, string])[] = pairs(`
  cow/moo sheep/bleat horse/neigh duck/quack dog/bark cat/meow bear/growl pig/grunt owl/hoot hen/cluck lion/roar bee/buzz
  snake/hiss frog/croak wolf/howl mouse/squeak raven/caw sparrow/chirp pigeon/coo donkey/bray`)

/** Thing and its colour. */
export const thingColours: readonly (readonly [string, string])[] = pairs(`
  lemon/yellow banana/yellow sunflower/yellow canary/yellow chick/yellow
  tomato/red strawberry/red cherry/red ruby/red poppy/red brick/red
  grass/green frog/green cucumber/green emerald/green lettuce/green clover/green
  sky/blue sapphire/blue cornflower/blue blueberry/blue
  snow/white milk/white salt/white chalk/white swan/white
  coal/black raven/black tar/black soot/black
  carrot/orange pumpkin/orange apricot/orange
  plum/purple lavender/purple violet/purple
  chestnut/brown mud/brown cocoa/brown bark/brown
  ash/grey lead/grey elephant/grey
  flamingo/pink salmon/pink piglet/pink`)

/** Noun and its plural. */
export const nouns: readonly (readonly [string, string])[] = pairs(`
  lamp/lamps stone/stones river/rivers garden/gardens window/windows table/tables spoon/spoons candle/candles
  basket/baskets mirror/mirrors hammer/hammers pillow/pillows bottle/bottles button/buttons ladder/ladders
  lantern/lanterns bridge/bridges castle/castles forest/forests island/islands market/markets village/villages
  letter/letters pencil/pencils carpet/carpets blanket/blankets hat/hats coat/coats boot/boots ring/rings
  clock/clocks drum/drums boat/boats cart/carts wheel/wheels rope/ropes nail/nails broom/brooms kettle/kettles
  plate/plates cup/cups bowl/bowls pan/pans oven/ovens apple/apples pear/pears nut/nuts seed/seeds root/roots
  flower/flowers tree/trees cloud/clouds star/stars moon/moons wave/waves hill/hills road/roads gate/gates
  door/doors roof/roofs wall/walls tower/towers barn/barns pond/ponds nest/nests feather/feathers
  box/boxes brush/brushes dish/dishes glass/glasses bench/benches peach/peaches church/churches torch/torches
  bus/buses match/matches watch/watches dress/dresses branch/branches
  berry/berries city/cities story/stories baby/babies lady/ladies penny/pennies pony/ponies fairy/fairies
  leaf/leaves loaf/loaves knife/knives shelf/shelves wife/wives scarf/scarves thief/thieves half/halves
  mouse/mice goose/geese foot/feet tooth/teeth man/men woman/women child/children ox/oxen
  potato/potatoes tomato/tomatoes hero/heroes`)

/** Verb and its past tense. */
export const verbs: readonly (readonly [string, string])[] = pairs(`
  walk/walked jump/jumped cook/cooked paint/painted climb/climbed open/opened wash/washed help/helped call/called
  laugh/laughed dance/danced bake/baked smile/smiled hope/hoped close/closed move/moved
  carry/carried hurry/hurried study/studied cry/cried
  stop/stopped plan/planned hug/hugged
  sing/sang ring/rang swim/swam drink/drank begin/began run/ran sit/sat give/gave come/came see/saw eat/ate
  write/wrote ride/rode drive/drove speak/spoke break/broke wake/woke choose/chose steal/stole freeze/froze
  grow/grew know/knew throw/threw fly/flew draw/drew blow/blew
  bring/brought buy/bought think/thought catch/caught teach/taught fight/fought
  sleep/slept keep/kept feel/felt leave/left lose/lost send/sent build/built spend/spent
  find/found hold/held stand/stood tell/told sell/sold make/made hear/heard say/said go/went take/took shake/shook
  fall/fell win/won dig/dug hang/hung`)

/** Adjective and its opposite; both directions are facts. */
export const opposites: readonly (readonly [string, string])[] = pairs(`
  hot/cold big/small long/short tall/low wide/narrow thick/thin heavy/light fast/slow loud/quiet hard/soft wet/dry
  full/empty old/new rich/poor strong/weak clean/dirty happy/sad brave/afraid bright/dark early/late sharp/blunt
  deep/shallow near/far rough/smooth sweet/bitter cheap/dear open/shut right/wrong true/false awake/asleep`)

/** Words that have a translation into Velmish, the language of the valley. */
export const translated: readonly string[] = list(`
  bread water fire house sun moon star tree river stone bird fish horse dog cat mother father friend king song night
  day winter summer rain snow wind sea hill road door lamp book apple honey milk salt gold silver hand heart eye
  flower forest garden bridge boat bell dream story light shadow`)
