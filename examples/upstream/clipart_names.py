"""The single pictures that the task "clipart" takes and leaves out, chosen by looking at all."""

from __future__ import annotations

from types import MappingProxyType

# Pictures of a class's folders that show something else, that show other classes too, or that are
# broken ("Linked Image Not Found"): the beginnings of their file names, or of their paths below the
# folder of openclipart.
LEFT_OUT = MappingProxyType(
    {
        "bird": "baby-tux bat_ contour_bat duck_yellow_ii mirjam "
        "turkey_on_platter tux_didier wing_",
        "body part": "fawn olifant",
        "building": "brick capitello city_horizon mobile old_sign poltrona "
        "school_hallway sedia small_square soft_blue tavolo television "
        "wall wooden",
        "clothing": "feet_in jacob_leisler magic_hat pantyhose_rollandin_fra straw_tote",
        "computer": "8port_switch digital firewall gameboy handheld_gps rhythmbox router",
        "dessert": "baby_bottle pie_apple_bw_",
        "drink": "apple_juice_box_ flower-pot ice_cube icecube macchina wine_corks wooden",
        "flower": "cactus cartoon_tree",
        "fruit": "apple_juice apple_mateya banana_mateya candied champignon "
        "eris_apple gumnut juice_glass kallisti pie_ slate straw_tote "
        "tree_whit turkey",
        "insect": "c_rollandin_ lumaca ragn scorpion spider virus",
        "mammal": "cat_scrathing crazy_monkey emule mechorse mhooo shaezy skoynk "
        "sleeping_bear squeek toro_al",
        "meal": "frying_pan fuoco mateya potato_nicu turkey_",
        "musical instrument": "45_rpm a_man bach bass_clef beethoveo boombox double fifties "
        "funny gramophone handel headphones jazz microphone musical_note "
        "piano_theory quaver rca simple sixteenth treble trumpet_harmon "
        "trumpet_straight vinyl",
        "person": "3_faces a_boy_plays a_happy_boy a_youngster al_bar alien "
        "angry_punk baby_anthony baby_bottle backpacker beach_trip "
        "blue_eye blue_girl_ brozo buddy camper car_ride cards chat chibi "
        "don_t elfish eye eyes feet female_rollandin fingerprint "
        "fire_engine fireman gender grandpa hands handshake hide hikinh "
        "hygieia icons inservice john_coltrane left_hand martin_luther "
        "maya my_lovely pace_e people_juliane_krug_0 portrait ppl "
        "pregnancy reminder right_hand safety sailing samoa self_portrait "
        "sexy shoe silvia skull stripper stylized_yoga team_sketch "
        "van_gogh water_fight water_skier wedding_sign woman_eye xbill",
        "sports equipment": "a_boy backpacker baseball_cap binoculars cronometro football_p "
        "future golf_drive hikinh judo karate nunchaku roller sport "
        "stylized tennis_shoe ticket water_skier",
        "stationery": "arrow1 bluepane calcolatrice cassa cellular cestino clessidra "
        "cross cup desk diagramma fabbrica floppy handphone handshake "
        "ink_ inservice ip_phone istogramma lamp_ lana large_brac laser "
        "lcd lens liberty lightbulb lotion magnif manuscriot megaphone "
        "milimetered mobile numero phone picture_frame printer red_tele "
        "reunion slim sprint stylized telefono telephone user video "
        "wooden",
        "tool": "airbrush binocolo blue_vacuum bottle bussola calamita cellular "
        "chiave cog compass digital electric engrenagem ferro gallows "
        "green_burner hurricane insecticide ironing kexi key_ keyring "
        "lampada lente lock mag mattone metal_cage natural nodding "
        "orange_burner padlock panel pansement pencil route ruota scart "
        "scolapasta smoke stefan telescope thermometer tools/toys/ "
        "tools/weapons/ toothbrush umbrella unit_blocks vacuum vavuum",
        "tree or leaf": "bowsaw bypass christmas_balls",
        "vehicle": "ampel anchor bambi beach_trip bus_lane bus_opposite bus_symbol "
        "buses cattle crossroads crosswind curve cycle_ cycles departing "
        "drawbridge end_daul Evel grain grounded horse kaboom lighthouse "
        "little_tan lorry Motorway no_ old_folks parking pass_either quay "
        "roundabout shelby street_sign the_mad toy_paper trams_only "
        "transportation/airplane.png transportation/tram.png tunnel turn_ "
        "two_way wing_ zigzag",
        "sky": "00_ drop_peterm geography/astronomy/jupiter "
        "geography/astronomy/saturn icicles lightning_jon_phillips_0 "
        "lightning_jon_phillips_10 southen tsunami",
    }
)

# Pictures from mixed folders: the folder, and the beginning of the file names in this very folder.
PICKED = MappingProxyType(
    {
        "bird": "animals/pinguino animals/tux_head unsorted/Anatra "
        "unsorted/Colombo unsorted/colombo2 unsorted/gabbiano "
        "unsorted/papera unsorted/pennuto unsorted/Pinguino "
        "unsorted/struzzo",
        "body part": "people/blue_eye people/eyes_ people/feet_in people/handshake "
        "people/skull people/woman_eye unsorted/paper_R unsorted/rock_R "
        "unsorted/scissors_R",
        "building": "education/school_in unsorted/aziendaVendite unsorted/Condominio "
        "unsorted/fattoria unsorted/igloo",
        "clothing": "food/toque unsorted/Attaccapanni unsorted/borsetta "
        "unsorted/calzettoni unsorted/vestito_rosa",
        "flower": "unsorted/rosa unsorted/rose unsorted/van_gogh",
        "fruit": "food/fruitcollection food/grapes_leif",
        "insect": "animals/mosquito",
        "mammal": "animals/armadillo animals/bison animals/sailor animals/seal_sek "
        "unsorted/cammello unsorted/elefant unsorted/mucca "
        "unsorted/pecorella",
        "meal": "food/bowl_of food/burrito food/fondue food/french food/fries "
        "food/lasagna food/menu food/onion_rings food/perogies food/pizza "
        "food/sandwich food/soup food/spaghetti food/submarine "
        "unsorted/tramezzino",
        "musical instrument": "geography/war_drum recreation/holiday/christmas/jingle",
        "person": "people/ unsorted/carpentiere unsorted/principessa "
        "unsorted/ragazz unsorted/signorina unsorted/Traslocatore "
        "unsorted/trekking",
        "sky": "geography/astronomy/ recreation/holiday/rainbow "
        "recreation/holiday/sunshine science/astronomy/",
        "sports equipment": "people/clothing/pattino recreation/toys/ball "
        "recreation/toys/beach recreation/toys/boomerang "
        "recreation/toys/surf unsorted/pesistica",
        "stationery": "education/blue_folder education/brush education/colori "
        "education/paint education/palette unsorted/blocco_notes "
        "unsorted/pinzatrice",
        "tool": "plants/trees/bowsaw plants/trees/bypass unsorted/carretta "
        "unsorted/guanti unsorted/metro_ unsorted/motosega "
        "unsorted/scala_ unsorted/sega_",
        "tree or leaf": "plants/albero plants/arbre plants/bamboo plants/cactus "
        "plants/cacuts plants/cannabis plants/fall_ plants/island "
        "plants/leaf plants/olivier plants/palmtree plants/reed "
        "plants/shamrock plants/tree recreation/holiday/christmas/tree "
        "recreation/holiday/christmas/xmas unsorted/foglie",
        "vehicle": "people/car_ride people/fire_engine transportation/ "
        "transportation/boating/boat_ transportation/boating/sailboat "
        "unsorted/ambulanza unsorted/betoniera unsorted/caterpillar "
        "unsorted/Montacarichi",
    }
)

# The beginnings of the paths of pictures that belong to a series although their names begin with
# different words.
TOGETHER = (
    "geography/astronomy/0 geography/astronomy/moon",
    "people/adult_astrid people/boy_astrid",
    "people/girl_symbol people/symbolic_boy people/boy_symbol",
    "people/signore people/signorina",
    "food/fruit/lemon food/fruit/lime",
    "computer/hardware/computer computer/hardware/gnome-fs computer/hardware/workstation",
    "animals/bugs/formic",
    "food/fruit/an_apple food/fruit/another food/fruit/apple food/fruit/cartoon_apple",
)
